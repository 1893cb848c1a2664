#include "daemon/privileges.h"

#include "base/file.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    ENTRY_BYTES = 64 * 1024 /* of a user or group with its members */
};

md_status md_privileges_find(const md_conf *conf, unsigned *ret_uid, unsigned *ret_gid,
                             md_error *err)
{
    MD_AUTO(md_freep) char *text = md_malloc(ENTRY_BYTES);
    struct passwd user, *found_user = NULL;
    struct group group, *found_group = NULL;
    if (text == NULL) {
        return md_fail(err, MD_NOMEM, "no memory to look a user up");
    }
    (void)getpwnam_r(conf->user, &user, text, ENTRY_BYTES, &found_user);
    if (found_user == NULL) {
        return md_fail(err, MD_NOT_FOUND, "user: there is no user %s here", conf->user);
    }
    unsigned uid = user.pw_uid;
    unsigned gid = user.pw_gid;
    if (conf->group[0] != '\0') {
        (void)getgrnam_r(conf->group, &group, text, ENTRY_BYTES, &found_group);
        if (found_group == NULL) {
            return md_fail(err, MD_NOT_FOUND, "group: there is no group %s here", conf->group);
        }
        gid = group.gr_gid;
    }
    *ret_uid = uid;
    *ret_gid = gid;
    return MD_OK;
}

/* A folder that is new belongs to the user; one that is there must. */
static md_status hand_over_storage(const md_conf *conf, uid_t uid, gid_t gid, md_error *err)
{
    const char *path = conf->storage.path;
    struct stat info;
    bool is_new = stat(path, &info) != 0 && errno == ENOENT;
    if (is_new) {
        MD_TRY(md_folder_create(path, err));
        if (chown(path, uid, gid) != 0) {
            return md_fail_os(err, errno, "%s: make it %s's", path, conf->user);
        }
    } else if (stat(path, &info) != 0) {
        return md_fail_os(err, errno, "%s", path);
    } else if (info.st_uid != uid) {
        return md_fail(err, MD_INVALID_ARG,
                       "%s: belongs to another user than %s: chown -R it, or change `user`",
                       path, conf->user);
    }
    return MD_OK;
}

/* Become the user; what would lead back must fail. */
static md_status become(uid_t uid, gid_t gid, md_error *err)
{
    if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 ||
        setresuid(uid, uid, uid) != 0) {
        return md_fail_os(err, errno, "give up root");
    }
    uid_t uids[3] = {0};
    gid_t gids[3] = {0};
    bool is_done = getresuid(&uids[0], &uids[1], &uids[2]) == 0 &&
                   getresgid(&gids[0], &gids[1], &gids[2]) == 0 && getgroups(0, NULL) == 0;
    for (int i = 0; i < 3; i++) {
        is_done = is_done && uids[i] == uid && gids[i] == gid;
    }
    if (!is_done || setresuid(0, 0, 0) == 0 || setuid(0) == 0 || seteuid(0) == 0) {
        return md_fail(err, MD_INTERNAL, "root could not be given up for good");
    }
    return MD_OK;
}

/* What systemd's AmbientCapabilities gave for the port: workers must not inherit it. Of this
 * thread, and those that it starts from here on. */
static md_status give_up_capabilities(md_error *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 ||
        syscall(SYS_capset, &head, none) != 0) {
        return md_fail_os(err, errno, "give up capabilities");
    }
    return MD_OK;
}

md_status md_privileges_drop(const md_conf *conf, bool *ret_is_root, md_error *err)
{
    unsigned uid = 0;
    unsigned gid = 0;
    *ret_is_root = false;
    if (conf->user[0] != '\0') {
        MD_TRY(md_privileges_find(conf, &uid, &gid, err));
    }
    if (geteuid() == 0) {
        *ret_is_root = conf->user[0] == '\0';
        if (uid != 0) {
            MD_TRY(hand_over_storage(conf, uid, gid, err));
            MD_TRY(become(uid, gid, err));
        }
    } else if (conf->user[0] != '\0' && uid != geteuid()) {
        return md_fail(err, MD_INVALID_ARG,
                       "user: only root can become %s: start as root or as %s", conf->user,
                       conf->user);
    }
    if (geteuid() != 0) {
        MD_TRY(give_up_capabilities(err));
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return md_fail_os(err, errno, "give up gaining privileges");
    }
    return MD_OK;
}
