#ifndef MEDAID_TESTS_HOSTILE_H
#define MEDAID_TESTS_HOSTILE_H

/* What the hostile plugin can do, each chosen by the number of rows of the image that it gets:
 * HOSTILE_ROWS plus the number below. Tests draw an image of that height. */

enum {
    HOSTILE_ROWS = 300
};

typedef enum hostile_deed {
    HOSTILE_NONE,     /* an honest answer, score 0.25 */
    HOSTILE_SEGFAULT, /* writes to address 16 */
    HOSTILE_LOOP,     /* never returns */
    HOSTILE_ALLOCATE, /* takes and touches memory until it gets no more, then follows NULL */
    HOSTILE_ALLOCATE_SHARED, /* the same with shared pages, which RLIMIT_DATA does not count */
    HOSTILE_SOCKET,          /* opens a TCP socket and connects to 127.0.0.1 */
    HOSTILE_READ_FILE,       /* reads /etc/passwd; score 1 when it could, 0 when not */
    HOSTILE_READ_PARENT,     /* reads the parent's environment; score as above */
    HOSTILE_WRITE_FILE,      /* makes /tmp/medaid-hostile-<pid>; score as above */
    HOSTILE_REMOVE_FILE,     /* unlinks the files of its study; score as above */
    HOSTILE_FORK,            /* forks */
    HOSTILE_EXEC,            /* executes /bin/true */
    HOSTILE_THREAD,          /* starts a thread, which is allowed; score 0 */
    HOSTILE_JIT,             /* writes code and runs it, which is allowed; score 0 */
    HOSTILE_SCORE_TWO,       /* answers 2.0 */
    HOSTILE_SCORE_NAN,       /* answers NaN */
    HOSTILE_NO_ANSWER,       /* leaves the answer as it was */
    HOSTILE_BAD_STATE,       /* a state and a laterality that do not exist */
    HOSTILE_MAP_TOO_LARGE,   /* a saliency map beyond the room it was given */
    HOSTILE_LONG_ERROR,      /* fails with an endless text of control characters */
    HOSTILE_CLOSE_ALL,       /* closes every descriptor, then answers honestly */
    HOSTILE_KILL_PARENT,     /* sends SIGKILL to its parent */
    HOSTILE_KILL_ALL,        /* sends SIGKILL to every process it may signal */
    HOSTILE_PTRACE,          /* attaches to its parent */
    HOSTILE_STACK,           /* recurses for ever */
    HOSTILE_EXIT,            /* exit(0) */
    HOSTILE_FLOOD_OUTPUT,    /* 64 MiB to standard output and error, then an honest answer */
    HOSTILE_FLOOD_LOG,     /* 100,000 log lines by the host's function, then an honest answer */
    HOSTILE_FORGE_GARBAGE, /* writes random packets to every descriptor */
    HOSTILE_FORGE_LOG,     /* writes a broken and a false log line to every descriptor */
    HOSTILE_FORGE_RESULT,  /* writes a result packet with a size it made up */
    HOSTILE_ABORT,         /* abort() */
    HOSTILE_HANDLER,       /* takes the SIGSYS handler away, then writes a file */
    HOSTILE_THREAD_BOMB,   /* threads without end */
    HOSTILE_DEAF_LOOP,     /* blocks all signals, then loops */
    HOSTILE_SLOW,          /* sleeps for a second, then an honest answer */
    HOSTILE_N_DEEDS
} hostile_deed;

#endif
