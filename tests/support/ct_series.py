"""CT slices, small and many: what a study of 400 or 1000 images is made of."""
import pydicom
import pydicom.uid

from dicom_client import EXPLICIT, Object, new_uid

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
SIDE = 64


def slice_file(path, patient, body_part="CHEST"):
    """One slice as a file, with UIDs that dicom_client.Object.changed can replace."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CT_CLASS, new_uid()
    meta.TransferSyntaxUID = EXPLICIT
    ds = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    ds.SOPClassUID, ds.SOPInstanceUID = CT_CLASS, meta.MediaStorageSOPInstanceUID
    ds.StudyInstanceUID, ds.SeriesInstanceUID = new_uid(), new_uid()
    ds.FrameOfReferenceUID = new_uid()
    ds.PatientName, ds.PatientID, ds.AccessionNumber = patient
    ds.PatientBirthDate, ds.PatientSex, ds.StudyDate, ds.StudyTime = "", "O", "20200101", "120000"
    ds.StudyID, ds.ReferringPhysicianName, ds.PositionReferenceIndicator = "1", "", ""
    ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = "CT", 1, 1, 1
    ds.BodyPartExamined, ds.PatientPosition, ds.ImageType = body_part, "HFS", ["ORIGINAL",
                                                                               "PRIMARY", "AXIAL"]
    ds.KVP, ds.SliceThickness, ds.PixelSpacing = 120, 1, [0.7, 0.7]
    ds.ImagePositionPatient, ds.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.Rows = ds.Columns = SIDE
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 12, 11, 0
    ds.RescaleIntercept, ds.RescaleSlope, ds.WindowCenter, ds.WindowWidth = -1024, 1, 40, 400
    ds.PixelData = b"".join((900 + 3 * (row + column)).to_bytes(2, "little")
                            for row in range(SIDE) for column in range(SIDE))
    ds["PixelData"].VR = "OW"
    ds.is_little_endian, ds.is_implicit_VR = True, False
    ds.save_as(path, write_like_original=False)
    return path


def slices(path, n, patient, body_part="CHEST"):
    """n Objects of one new series, and their study's UID."""
    first = Object(slice_file(path, patient, body_part))
    study = pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID
    return [first] + [first.changed({first.sop_instance: new_uid()}) for _ in range(n - 1)], study
