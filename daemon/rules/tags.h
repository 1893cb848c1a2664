#ifndef MEDAID_DAEMON_RULES_TAGS_H
#define MEDAID_DAEMON_RULES_TAGS_H

/* What is read of a received object so that rules and required views can be judged without
 * opening it again: the attributes that the configuration names, and modality, body part and
 * view. They are kept with the instance as lines of text, "GGGGEEEE=value" or, of the first
 * item of a sequence, "GGGGEEEE/GGGGEEEE=value"; values in UTF-8, several with '\' between
 * them. It is patient data: it stays in the database and goes into no message. Pure functions;
 * any thread. */

#include "conf/conf.h"
#include "daemon/store/store.h"
#include "dicom/network/identity.h"

enum {
    MD_TAG_VALUE_BYTES = 257,
};

/* The attributes to read. */
void md_tags_wanted(const md_conf *conf, md_wanted *ret_wanted);
/* The lines for what was read. A value that has no room is left out. */
void md_tags_write(const md_wanted *wanted, const md_identity *identity,
                   char ret_tags[MD_STORE_TAGS_BYTES]);
/* The value of one attribute; false and "" when it is not there. */
bool md_tags_find(const char *tags, uint32_t sequence, uint32_t tag,
                  char ret_value[MD_TAG_VALUE_BYTES]);

#endif
