#ifndef MEDAID_PLUGINS_HOST_PLUGIN_H
#define MEDAID_PLUGINS_HOST_PLUGIN_H

/* The C plugin form of an analyzer: a shared library with medaid_plugin_entry
 * (plugins/sdk/medaid_plugin.h). What a library says and answers is checked and bounded here;
 * what its code does to the process is not, it runs inside. */

#include "plugins/host/analyzer.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The largest library that is hashed and loaded. */
#define MD_PLUGIN_MAX_BYTES ((size_t)512 << 20)

/* Load the library at `path`, check its descriptor, create an instance and run its self-test.
 * `name` stands before messages ("film_exposure.so"). only_id (NULL: any): MD_CANCELLED, before
 * anything but the descriptor was used, when the plugin has another id. MD_FORMAT (no ELF
 * file), MD_UNSUPPORTED (another ABI version, another kind), MD_PLUGIN (missing entry, a
 * descriptor that breaks a rule, a failed self-test). Caller destroys. */
md_status md_plugin_open(const char *path, const char *name, const char *only_id,
                         md_analyzer **ret_analyzer, md_error *err) MD_NOEXCEPT MD_NODISCARD;

#ifdef __cplusplus
}
#endif
#endif
