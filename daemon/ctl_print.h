#ifndef MEDAID_DAEMON_CTL_PRINT_H
#define MEDAID_DAEMON_CTL_PRINT_H

/* The daemon's JSON as tables for people. What is missing in it is shown as "-"; control
 * characters of texts are not printed. One thread. */

#include <jansson.h>
#include <stdio.h>

void md_ctl_print_status(const json_t *status, FILE *out);
void md_ctl_print_studies(const json_t *page, FILE *out);
void md_ctl_print_worklist(const json_t *list, FILE *out);
void md_ctl_print_study(const json_t *study, FILE *out);
void md_ctl_print_similar(const json_t *similar, FILE *out);
void md_ctl_print_report(const json_t *report, FILE *out);
/* What is proposed to do next for a study, and what was decided. */
void md_ctl_print_follow_up(const json_t *study, FILE *out);
/* The answer to a decision or an import. */
void md_ctl_print_decision(const json_t *answer, FILE *out);
/* The answer to a change: one line. */
void md_ctl_print_change(const json_t *answer, FILE *out);

#endif
