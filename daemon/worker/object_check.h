#ifndef MEDAID_DAEMON_WORKER_OBJECT_CHECK_H
#define MEDAID_DAEMON_WORKER_OBJECT_CHECK_H

/* Are the objects that a worker made what it says they are? They go to the PACS as they stand,
 * so a plugin that has taken its worker over must not be able to put something under another
 * study, another class or another instance's UID. The bytes are walked by dicom/network's
 * element walker, which decodes nothing. Any thread. */

#include "plugins/host/host.h"

/* MD_OK when each object is a whole Part 10 file in an uncompressed little endian syntax whose
 * head and dataset name the class, instance and series of the md_object, the study of the
 * results, and a series that medaid derived. MD_FORMAT says which is not, MD_IO and MD_NOMEM
 * are main's own. */
md_status md_worker_check_objects(const md_analysis *analysis, md_error *err) MD_NODISCARD;

#endif
