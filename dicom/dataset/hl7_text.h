#ifndef MEDAID_DICOM_DATASET_HL7_TEXT_H
#define MEDAID_DICOM_DATASET_HL7_TEXT_H

/* What a report says that came as an HL7 v2 message: the texts of its OBX segments, as UTF-8.
 * It stands here because the character sets are those of DICOM. The texts are patient data:
 * they go into no log, no message and no file name. The bytes are hostile. Any thread. */

#include "base/memory.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest message that is read. */
#define MD_HL7_MAX_BYTES ((size_t)1 << 20)

/* The values (OBX-5) of the OBX segments whose type (OBX-2) is TX, FT or ST, and of CE and CWE
 * the text, in their order with ". " between them: escapes undone (HL7 2.5.1, chapter 2.7),
 * components and repetitions one after the other, line breaks and tabs one blank, other control
 * characters dropped. The character set is MSH-18 (table 0211: ASCII, 8859/1 to /9 and /15, ISO
 * IR6, IR13, IR14, IR87, IR159, UNICODE UTF-8, GB 18030-2000, KS X 1001); without one, or with
 * an unknown one, UTF-8 where the bytes are that, else 8859/1. What cannot be decoded becomes
 * '?'. *ret_cut: there was more than fits into size_bytes >= 1, and it was cut between
 * characters. No text at all gives "". MD_FORMAT when the message does not begin with MSH and
 * five different delimiters, or holds a zero byte; MD_LIMIT beyond MD_HL7_MAX_BYTES; MD_NOMEM.
 * The block of MLLP may still be around it. */
md_status md_hl7_report_text(const uint8_t *message, size_t n_bytes, char *ret_text,
                             size_t size_bytes, bool *ret_cut, md_error *err)
    MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
