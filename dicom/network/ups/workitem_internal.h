#ifndef MEDAID_DICOM_NETWORK_UPS_WORKITEM_INTERNAL_H
#define MEDAID_DICOM_NETWORK_UPS_WORKITEM_INTERNAL_H

/* C++ only: steps that the files of this folder share. What fails for want of memory throws
 * std::bad_alloc, which md_guard turns into MD_NOMEM. */

#include "dicom/dataset/dataset_internal.h"
#include "dicom/network/ups/workitem.h"

DcmTagKey md_ups_key(uint32_t tag);
uint32_t md_ups_tag_of(const DcmElement *element);
/* All values of a text attribute, without trailing padding; "" when absent or no text. */
std::string md_ups_text(DcmItem *item, uint32_t tag);
/* NULL: none. */
DcmItem *md_ups_first_item(DcmItem *item, uint32_t sequence);
/* The first item; made when it is not there. */
DcmItem *md_ups_need_item(DcmItem *item, uint32_t sequence);
/* A value or an item is there. */
bool md_ups_has_value(DcmItem *item, uint32_t tag);
/* Copy an attribute when it is there. */
void md_ups_copy(DcmItem *from, DcmItem *to, uint32_t tag);
/* Take the element over, in place of an earlier one. */
void md_ups_insert(DcmItem *to, DcmElement *element);
void md_ups_put(DcmItem *item, uint32_t tag, const char *text);

#endif
