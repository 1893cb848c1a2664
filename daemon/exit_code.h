#ifndef MEDAID_DAEMON_EXIT_CODE_H
#define MEDAID_DAEMON_EXIT_CODE_H

/* How the program `medaid` ends; documented in README.md and printed by --help. When several
 * things went wrong in one call, the first of this order is told: ANALYSIS, SENDING, WRITING,
 * UNREADABLE, NO_MODEL. */
typedef enum md_exit_code {
    MD_EXIT_OK = 0,
    MD_EXIT_INTERNAL = 1,   /* out of memory, a library that does not work, our own mistake */
    MD_EXIT_USAGE = 2,      /* the command line or the configuration is wrong */
    MD_EXIT_UNREADABLE = 3, /* an input cannot be read as a DICOM image */
    MD_EXIT_NO_MODEL = 4,   /* a study that no model accepts, or no model at all */
    MD_EXIT_ANALYSIS = 5,   /* a model accepted the study, but its analysis failed */
    MD_EXIT_SENDING = 6,    /* the results were made, but not all were stored by the peer */
    MD_EXIT_WRITING = 7, /* the results could not be written, for example: they exist already */
} md_exit_code;

#endif
