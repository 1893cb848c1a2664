#include "dicom/network/sop.h"

#include <string.h>

/* PS3.6 table A-1, everything named "... Storage" below this root, bar the classes of luggage
 * and material inspection. */
#define STORAGE_ROOT "1.2.840.10008.5.1.4.1.1."

static const struct {
    const char *suffix, *name;
} storage_classes[] = {
    {"1", "Computed Radiography Image"},
    {"1.1", "Digital X-Ray Image - For Presentation"},
    {"1.1.1", "Digital X-Ray Image - For Processing"},
    {"1.2", "Digital Mammography X-Ray Image - For Presentation"},
    {"1.2.1", "Digital Mammography X-Ray Image - For Processing"},
    {"1.3", "Digital Intra-Oral X-Ray Image - For Presentation"},
    {"1.3.1", "Digital Intra-Oral X-Ray Image - For Processing"},
    {"2", "CT Image"},
    {"2.1", "Enhanced CT Image"},
    {"2.2", "Legacy Converted Enhanced CT Image"},
    {"3", "Ultrasound Multi-frame Image (retired)"},
    {"3.1", "Ultrasound Multi-frame Image"},
    {"4", "MR Image"},
    {"4.1", "Enhanced MR Image"},
    {"4.2", "MR Spectroscopy"},
    {"4.3", "Enhanced MR Color Image"},
    {"4.4", "Legacy Converted Enhanced MR Image"},
    {"5", "Nuclear Medicine Image (retired)"},
    {"6", "Ultrasound Image (retired)"},
    {"6.1", "Ultrasound Image"},
    {"6.2", "Enhanced US Volume"},
    {"7", "Secondary Capture Image"},
    {"7.1", "Multi-frame Single Bit Secondary Capture Image"},
    {"7.2", "Multi-frame Grayscale Byte Secondary Capture Image"},
    {"7.3", "Multi-frame Grayscale Word Secondary Capture Image"},
    {"7.4", "Multi-frame True Color Secondary Capture Image"},
    {"8", "Standalone Overlay (retired)"},
    {"9", "Standalone Curve (retired)"},
    {"9.1", "Waveform - Trial (retired)"},
    {"9.1.1", "12-lead ECG Waveform"},
    {"9.1.2", "General ECG Waveform"},
    {"9.1.3", "Ambulatory ECG Waveform"},
    {"9.2.1", "Hemodynamic Waveform"},
    {"9.3.1", "Cardiac Electrophysiology Waveform"},
    {"9.4.1", "Basic Voice Audio Waveform"},
    {"9.4.2", "General Audio Waveform"},
    {"9.5.1", "Arterial Pulse Waveform"},
    {"9.6.1", "Respiratory Waveform"},
    {"9.6.2", "Multi-channel Respiratory Waveform"},
    {"9.7.1", "Routine Scalp Electroencephalogram Waveform"},
    {"9.7.2", "Electromyogram Waveform"},
    {"9.7.3", "Electrooculogram Waveform"},
    {"9.7.4", "Sleep Electroencephalogram Waveform"},
    {"9.8.1", "Body Position Waveform"},
    {"10", "Standalone Modality LUT (retired)"},
    {"11", "Standalone VOI LUT (retired)"},
    {"11.1", "Grayscale Softcopy Presentation State"},
    {"11.2", "Color Softcopy Presentation State"},
    {"11.3", "Pseudo-Color Softcopy Presentation State"},
    {"11.4", "Blending Softcopy Presentation State"},
    {"11.5", "XA/XRF Grayscale Softcopy Presentation State"},
    {"11.6", "Grayscale Planar MPR Volumetric Presentation State"},
    {"11.7", "Compositing Planar MPR Volumetric Presentation State"},
    {"11.8", "Advanced Blending Presentation State"},
    {"11.9", "Volume Rendering Volumetric Presentation State"},
    {"11.10", "Segmented Volume Rendering Volumetric Presentation State"},
    {"11.11", "Multiple Volume Rendering Volumetric Presentation State"},
    {"12.1", "X-Ray Angiographic Image"},
    {"12.1.1", "Enhanced XA Image"},
    {"12.2", "X-Ray Radiofluoroscopic Image"},
    {"12.2.1", "Enhanced XRF Image"},
    {"12.3", "X-Ray Angiographic Bi-Plane Image (retired)"},
    {"13.1.1", "X-Ray 3D Angiographic Image"},
    {"13.1.2", "X-Ray 3D Craniofacial Image"},
    {"13.1.3", "Breast Tomosynthesis Image"},
    {"13.1.4", "Breast Projection X-Ray Image - For Presentation"},
    {"13.1.5", "Breast Projection X-Ray Image - For Processing"},
    {"14.1", "Intravascular Optical Coherence Tomography Image - For Presentation"},
    {"14.2", "Intravascular Optical Coherence Tomography Image - For Processing"},
    {"20", "Nuclear Medicine Image"},
    {"30", "Parametric Map"},
    {"66", "Raw Data"},
    {"66.1", "Spatial Registration"},
    {"66.2", "Spatial Fiducials"},
    {"66.3", "Deformable Spatial Registration"},
    {"66.4", "Segmentation"},
    {"66.5", "Surface Segmentation"},
    {"66.6", "Tractography Results"},
    {"67", "Real World Value Mapping"},
    {"68.1", "Surface Scan Mesh"},
    {"68.2", "Surface Scan Point Cloud"},
    {"77.1", "VL Image - Trial (retired)"},
    {"77.1.1", "VL Endoscopic Image"},
    {"77.1.1.1", "Video Endoscopic Image"},
    {"77.1.2", "VL Microscopic Image"},
    {"77.1.2.1", "Video Microscopic Image"},
    {"77.1.3", "VL Slide-Coordinates Microscopic Image"},
    {"77.1.4", "VL Photographic Image"},
    {"77.1.4.1", "Video Photographic Image"},
    {"77.1.5.1", "Ophthalmic Photography 8 Bit Image"},
    {"77.1.5.2", "Ophthalmic Photography 16 Bit Image"},
    {"77.1.5.3", "Stereometric Relationship"},
    {"77.1.5.4", "Ophthalmic Tomography Image"},
    {"77.1.5.5", "Wide Field Ophthalmic Photography Stereographic Projection Image"},
    {"77.1.5.6", "Wide Field Ophthalmic Photography 3D Coordinates Image"},
    {"77.1.5.7", "Ophthalmic Optical Coherence Tomography En Face Image"},
    {"77.1.5.8", "Ophthalmic Optical Coherence Tomography B-scan Volume Analysis"},
    {"77.1.6", "VL Whole Slide Microscopy Image"},
    {"77.1.7", "Dermoscopic Photography Image"},
    {"77.2", "VL Multi-frame Image - Trial (retired)"},
    {"78.1", "Lensometry Measurements"},
    {"78.2", "Autorefraction Measurements"},
    {"78.3", "Keratometry Measurements"},
    {"78.4", "Subjective Refraction Measurements"},
    {"78.5", "Visual Acuity Measurements"},
    {"78.6", "Spectacle Prescription Report"},
    {"78.7", "Ophthalmic Axial Measurements"},
    {"78.8", "Intraocular Lens Calculations"},
    {"79.1", "Macular Grid Thickness and Volume Report"},
    {"80.1", "Ophthalmic Visual Field Static Perimetry Measurements"},
    {"81.1", "Ophthalmic Thickness Map"},
    {"82.1", "Corneal Topography Map"},
    {"88.1", "Text SR - Trial (retired)"},
    {"88.2", "Audio SR - Trial (retired)"},
    {"88.3", "Detail SR - Trial (retired)"},
    {"88.4", "Comprehensive SR - Trial (retired)"},
    {"88.11", "Basic Text SR"},
    {"88.22", "Enhanced SR"},
    {"88.33", "Comprehensive SR"},
    {"88.34", "Comprehensive 3D SR"},
    {"88.35", "Extensible SR"},
    {"88.40", "Procedure Log"},
    {"88.50", "Mammography CAD SR"},
    {"88.59", "Key Object Selection Document"},
    {"88.65", "Chest CAD SR"},
    {"88.67", "X-Ray Radiation Dose SR"},
    {"88.68", "Radiopharmaceutical Radiation Dose SR"},
    {"88.69", "Colon CAD SR"},
    {"88.70", "Implantation Plan SR"},
    {"88.71", "Acquisition Context SR"},
    {"88.72", "Simplified Adult Echo SR"},
    {"88.73", "Patient Radiation Dose SR"},
    {"88.74", "Planned Imaging Agent Administration SR"},
    {"88.75", "Performed Imaging Agent Administration SR"},
    {"88.76", "Enhanced X-Ray Radiation Dose SR"},
    {"90.1", "Content Assessment Results"},
    {"91.1", "Microscopy Bulk Simple Annotations"},
    {"104.1", "Encapsulated PDF"},
    {"104.2", "Encapsulated CDA"},
    {"104.3", "Encapsulated STL"},
    {"104.4", "Encapsulated OBJ"},
    {"104.5", "Encapsulated MTL"},
    {"128", "Positron Emission Tomography Image"},
    {"128.1", "Legacy Converted Enhanced PET Image"},
    {"129", "Standalone PET Curve (retired)"},
    {"130", "Enhanced PET Image"},
    {"131", "Basic Structured Display"},
    {"200.1", "CT Defined Procedure Protocol"},
    {"200.2", "CT Performed Procedure Protocol"},
    {"200.3", "Protocol Approval"},
    {"200.7", "XA Defined Procedure Protocol"},
    {"200.8", "XA Performed Procedure Protocol"},
    {"481.1", "RT Image"},
    {"481.2", "RT Dose"},
    {"481.3", "RT Structure Set"},
    {"481.4", "RT Beams Treatment Record"},
    {"481.5", "RT Plan"},
    {"481.6", "RT Brachy Treatment Record"},
    {"481.7", "RT Treatment Summary Record"},
    {"481.8", "RT Ion Plan"},
    {"481.9", "RT Ion Beams Treatment Record"},
    {"481.10", "RT Physician Intent"},
    {"481.11", "RT Segment Annotation"},
    {"481.12", "RT Radiation Set"},
    {"481.13", "C-Arm Photon-Electron Radiation"},
    {"481.14", "Tomotherapeutic Radiation"},
    {"481.15", "Robotic-Arm Radiation"},
    {"481.16", "RT Radiation Record Set"},
    {"481.17", "RT Radiation Salvage Record"},
    {"481.18", "Tomotherapeutic Radiation Record"},
    {"481.19", "C-Arm Photon-Electron Radiation Record"},
    {"481.20", "Robotic Radiation Record"},
    {"481.21", "RT Radiation Set Delivery Instruction"},
    {"481.22", "RT Treatment Preparation"},
};

/* What dicom/image can decode, and no more: a peer whose proposal is refused may offer another.
 */
static const struct {
    const char *uid, *name;
    md_encoding encoding;
} transfer_syntaxes[] = {
    {MD_UID_IMPLICIT_LITTLE, "Implicit VR Little Endian", MD_ENCODING_IMPLICIT_LITTLE},
    {MD_UID_EXPLICIT_LITTLE, "Explicit VR Little Endian", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.1.99", "Deflated Explicit VR Little Endian", MD_ENCODING_DEFLATED},
    {"1.2.840.10008.1.2.2", "Explicit VR Big Endian", MD_ENCODING_EXPLICIT_BIG},
    {"1.2.840.10008.1.2.4.50", "JPEG Baseline", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.4.51", "JPEG Extended", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.4.57", "JPEG Lossless", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.4.70", "JPEG Lossless SV1", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.4.80", "JPEG-LS Lossless", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.4.81", "JPEG-LS Near-Lossless", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.4.90", "JPEG 2000 Lossless Only", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.4.91", "JPEG 2000", MD_ENCODING_EXPLICIT_LITTLE},
    {"1.2.840.10008.1.2.5", "RLE Lossless", MD_ENCODING_EXPLICIT_LITTLE},
};

const char *md_sop_storage_name(const char *sop_class_uid)
{
    size_t root_length = strlen(STORAGE_ROOT);
    if (strncmp(sop_class_uid, STORAGE_ROOT, root_length) != 0) {
        return NULL;
    }
    for (size_t i = 0; i < sizeof storage_classes / sizeof storage_classes[0]; i++) {
        if (strcmp(sop_class_uid + root_length, storage_classes[i].suffix) == 0) {
            return storage_classes[i].name;
        }
    }
    return NULL;
}

const char *md_transfer_syntax_name(const char *transfer_syntax_uid)
{
    for (size_t i = 0; i < sizeof transfer_syntaxes / sizeof transfer_syntaxes[0]; i++) {
        if (strcmp(transfer_syntax_uid, transfer_syntaxes[i].uid) == 0) {
            return transfer_syntaxes[i].name;
        }
    }
    return NULL;
}

md_encoding md_transfer_syntax_encoding(const char *transfer_syntax_uid)
{
    for (size_t i = 0; i < sizeof transfer_syntaxes / sizeof transfer_syntaxes[0]; i++) {
        if (strcmp(transfer_syntax_uid, transfer_syntaxes[i].uid) == 0) {
            return transfer_syntaxes[i].encoding;
        }
    }
    /* every encapsulated syntax, known or not, is explicit little endian: PS3.5 A.4 */
    return MD_ENCODING_EXPLICIT_LITTLE;
}

bool md_sop_is_verification(const char *sop_class_uid)
{
    return strcmp(sop_class_uid, MD_UID_VERIFICATION) == 0;
}

uint8_t md_sop_judge(const char *abstract_syntax, const char *transfer_syntax)
{
    if (md_sop_is_verification(abstract_syntax)) {
        md_encoding encoding = md_transfer_syntax_encoding(transfer_syntax);
        bool plain = md_transfer_syntax_name(transfer_syntax) != NULL &&
                     encoding != MD_ENCODING_DEFLATED;
        return plain ? MD_CONTEXT_ACCEPTED : MD_CONTEXT_TRANSFER_REFUSED;
    }
    if (md_sop_storage_name(abstract_syntax) == NULL) {
        return MD_CONTEXT_ABSTRACT_REFUSED;
    }
    return md_transfer_syntax_name(transfer_syntax) != NULL ? MD_CONTEXT_ACCEPTED
                                                            : MD_CONTEXT_TRANSFER_REFUSED;
}
