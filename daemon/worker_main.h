#ifndef MEDAID_DAEMON_WORKER_MAIN_H
#define MEDAID_DAEMON_WORKER_MAIN_H

/* `medaid --worker FOLDER`: the process that analyses studies with plugins/host, started by the
 * daemon's pool (daemon/worker/pool.h) and of no use to anybody else. FOLDER holds the files of
 * the running study. Never returns; ends with 0 when the daemon says so or is gone. */
_Noreturn void md_worker_main(const char *work_folder);

#endif
