#include "dicom/dataset/dicomdir.h"

#include "dicom/dataset/dataset_internal.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <dirent.h>
#include <map>
#include <set>
#include <sys/stat.h>
#include <vector>

namespace
{

constexpr unsigned max_components = 16; /* PS3.10 8.2 allows 8 */

enum class Found {
    file,
    missing,
    rejected
};

std::string lower(std::string text)
{
    for (char &c : text) {
        c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    return text;
}

/* Folders are listed once, or a directory of many missing names would list them for each. */
class Listings
{
  public:
    /* The entry of a folder that is called so, if need be in other letters' case or with the
     * version suffix that ISO 9660 adds ("IM1.;1"). */
    bool find(const std::string &folder, const std::string &name, std::string &ret_path)
    {
        auto known = folders.find(folder);
        if (known == folders.end()) {
            known = folders.emplace(folder, list(folder)).first;
        }
        const Names &names = known->second;
        const auto exact = names.exact.count(name);
        const auto found = names.by_lower.find(lower(name));
        if (exact == 0 && found == names.by_lower.end()) {
            return false;
        }
        ret_path = folder + "/" + (exact != 0 ? name : found->second);
        return true;
    }

  private:
    struct Names {
        std::set<std::string> exact;
        std::map<std::string, std::string> by_lower;
    };
    std::map<std::string, Names> folders;

    static Names list(const std::string &folder)
    {
        Names names;
        DIR *dir = opendir(folder.c_str());
        if (dir == nullptr) {
            return names;
        }
        while (const dirent *entry = readdir(dir)) {
            const std::string name = entry->d_name;
            std::string bare = lower(name.substr(0, name.find(';')));
            if (bare.size() > 1 && bare.back() == '.') {
                bare.pop_back();
            }
            names.exact.insert(name);
            names.by_lower.emplace(bare, name);
        }
        closedir(dir);
        return names;
    }
};

std::string folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == nullptr) {
        return ".";
    }
    return slash == path ? "/" : std::string(path, static_cast<size_t>(slash - path));
}

bool is_allowed(const std::string &component)
{
    return !component.empty() && component != "." && component != ".." &&
           component.find('/') == std::string::npos &&
           component.find('\0') == std::string::npos;
}

/* True when the file, links resolved, lies under the folder. */
bool is_under(const std::string &path, const std::string &real_folder)
{
    char resolved[PATH_MAX];
    if (realpath(path.c_str(), resolved) == nullptr) {
        return false;
    }
    if (real_folder == "/") {
        return true;
    }
    return strncmp(resolved, real_folder.c_str(), real_folder.size()) == 0 &&
           resolved[real_folder.size()] == '/';
}

/* The components of Referenced File ID (0004,1500). Some writers use one value with slashes. */
std::vector<std::string> components_of(DcmItem *record)
{
    std::vector<std::string> components;
    DcmElement *element = nullptr;
    OFString bytes;
    if (record->findAndGetElement(DcmTagKey(0x0004, 0x1500), element).bad() ||
        element->getVM() > max_components || element->getOFStringArray(bytes).bad()) {
        return components;
    }
    std::string component;
    for (size_t i = 0; i <= bytes.length(); i++) {
        const char c = i < bytes.length() ? bytes[i] : '\\';
        if (c != '\\') {
            component += c;
            continue;
        }
        const size_t last = component.find_last_not_of(std::string(" \0", 2));
        component.resize(last == std::string::npos ? 0 : last + 1);
        components.push_back(component);
        component.clear();
    }
    return components;
}

Found resolve(Listings &listings, const std::vector<std::string> &components,
              const std::string &folder, const std::string &real_folder, std::string &ret_path)
{
    std::string path = folder;
    for (const std::string &component : components) {
        if (!is_allowed(component)) {
            return Found::rejected;
        }
    }
    for (const std::string &component : components) {
        std::string next;
        if (!listings.find(path, component, next)) {
            return Found::missing;
        }
        path = next;
    }
    if (!is_under(path, real_folder)) {
        return Found::rejected;
    }
    struct stat info = {};
    if (stat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) {
        return Found::missing;
    }
    ret_path = path;
    return Found::file;
}

md_status add_path(md_dicomdir *list, const std::string &path, md_error *err)
{
    char *copy = md_strdup(path.c_str());
    if (copy == nullptr) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    list->paths[list->n_paths++] = copy;
    return MD_OK;
}

md_status read_records(DcmSequenceOfItems *records, const char *path, md_dicomdir *list,
                       md_error *err)
{
    const std::string folder = folder_of(path);
    char real_folder[PATH_MAX];
    if (realpath(folder.c_str(), real_folder) == nullptr) {
        return md_fail_os(err, errno, "cannot read the folder of the DICOMDIR");
    }
    const unsigned long n = records->card();
    if (n > MD_DICOMDIR_MAX_FILES) {
        return md_fail(err, MD_LIMIT, "(0004,1220) has %lu records, at most %d are read", n,
                       MD_DICOMDIR_MAX_FILES);
    }
    list->paths = static_cast<char **>(md_calloc(n + 1, sizeof *list->paths));
    if (list->paths == nullptr) {
        return md_fail(err, MD_NOMEM, "out of memory");
    }
    std::set<std::string> seen;
    Listings listings;
    /* nextInContainer, because getItem(i) walks from the start each time. */
    for (DcmObject *object = records->nextInContainer(nullptr); object != nullptr;
         object = records->nextInContainer(object)) {
        DcmItem *record = static_cast<DcmItem *>(object);
        const std::vector<std::string> components = components_of(record);
        Uint16 in_use = 0xffff;
        (void)record->findAndGetUint16(DcmTagKey(0x0004, 0x1410), in_use);
        if (components.empty() || in_use == 0) {
            continue;
        }
        std::string file;
        switch (resolve(listings, components, folder, real_folder, file)) {
        case Found::missing:
            list->n_missing++;
            break;
        case Found::rejected:
            list->n_rejected++;
            break;
        case Found::file:
            if (seen.insert(file).second) {
                MD_TRY(add_path(list, file, err));
            }
            break;
        }
    }
    return MD_OK;
}

DcmSequenceOfItems *records_of(const md_dataset *dataset)
{
    DcmSequenceOfItems *records = nullptr;
    if (md_dataset_dcmtk(dataset)
            ->findAndGetSequence(DcmTagKey(0x0004, 0x1220), records)
            .bad()) {
        return nullptr;
    }
    return records;
}

md_status read_dicomdir(const md_dataset *dataset, const char *path, md_dicomdir *list,
                        md_error *err)
{
    DcmSequenceOfItems *records = records_of(dataset);
    if (records == nullptr) {
        return md_fail(err, MD_FORMAT, "no Directory Record Sequence (0004,1220)");
    }
    return read_records(records, path, list, err);
}

} // namespace

bool md_dataset_is_dicomdir(const md_dataset *dataset) noexcept
{
    return md_guard_bool([&] {
        OFString sop_class;
        DcmMetaInfo *meta = md_dataset_dcmtk_file(dataset)->getMetaInfo();
        (void)meta->findAndGetOFString(DcmTagKey(0x0002, 0x0002), sop_class);
        return sop_class == "1.2.840.10008.1.3.10" || records_of(dataset) != nullptr;
    });
}

md_status md_dicomdir_read(const md_dataset *dataset, const char *path,
                           md_dicomdir *ret_dicomdir, md_error *err) noexcept
{
    md_dicomdir list = {};
    const md_status status =
        md_guard(err, __func__, [&] { return read_dicomdir(dataset, path, &list, err); });
    if (status != MD_OK) {
        md_dicomdir_finish(&list);
        return status;
    }
    *ret_dicomdir = list;
    return MD_OK;
}

void md_dicomdir_finish(md_dicomdir *dicomdir) noexcept
{
    for (size_t i = 0; i < dicomdir->n_paths; i++) {
        md_free(dicomdir->paths[i]);
    }
    md_free(dicomdir->paths);
    *dicomdir = md_dicomdir{};
}
