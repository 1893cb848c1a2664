/* The SDK header as the strictest plugin author would compile it: C99, nothing before it. */

#include "medaid_plugin.h"

const medaid_plugin *medaid_plugin_entry(uint32_t host_abi)
{
    (void)host_abi;
    return (const medaid_plugin *)0;
}
