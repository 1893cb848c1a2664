#ifndef MEDAID_DAEMON_HOST_SETUP_H
#define MEDAID_DAEMON_HOST_SETUP_H

/* The configuration's words for the host's options: what --oneshot and --daemon have in common.
 */

#include "conf/conf.h"
#include "plugins/host/host.h"

/* Told of each package or plugin that is refused; the others serve. */
typedef void md_on_refused(void *context, const char *package, const md_error *reason);

/* Create the host that the configuration describes, and let the decoder of JPEG 2000 have as
 * many threads as the engine (md_image_set_threads); without plugins.paths it takes the folder
 * that was installed with the program. `only_model` NULL: all. `embeds`: as md_host_options.
 * `on_refused` NULL: they are logged as "model_refused". Errors as md_host_create. */
md_status md_host_setup(const md_conf *conf, const char *only_model, bool embeds,
                        md_on_refused *on_refused, void *context, md_host **ret_host,
                        md_error *err) MD_NODISCARD;

/* The folder of models that was installed with the program. */
const char *md_host_default_folder(void);

/* What is to be written for each study; callbacks and clock are the caller's. The texts are
 * borrowed from `conf`. */
md_analyse_options md_analyse_options_from(const md_conf *conf);

#endif
