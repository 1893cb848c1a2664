/* The worker program of these tests: `medaid --worker` with the test's engine. */

#include "engine.h"

#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "no-start") == 0) {
        return 3;
    }
    md_worker_engine engine = test_engine();
    int code = md_worker_serve(&engine, MD_WORKER_SOCKET_FD, MD_WORKER_SHARED_FD,
                               argv[argc - 1], true);
    _exit(code);
}
