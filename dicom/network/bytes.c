#include "dicom/network/bytes.h"

#include "dicom/dataset/dataset.h"

#include <string.h>

bool md_uid_copy(const uint8_t *bytes, size_t n, char *ret_uid)
{
    ret_uid[0] = '\0';
    while (n > 0 && (bytes[n - 1] == '\0' || bytes[n - 1] == ' ')) {
        n--;
    }
    if (n == 0 || n >= MD_UID_BYTES) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != '.' && (bytes[i] < '0' || bytes[i] > '9')) {
            return false;
        }
    }
    memcpy(ret_uid, bytes, n);
    ret_uid[n] = '\0';
    return true;
}

void md_ae_copy(const uint8_t bytes[16], char *ret_title)
{
    size_t begin = 0, end = MD_AE_BYTES - 1;
    while (end > 0 && (bytes[end - 1] == ' ' || bytes[end - 1] == '\0')) {
        end--;
    }
    while (begin < end && bytes[begin] == ' ') {
        begin++;
    }
    for (size_t i = begin; i < end; i++) {
        ret_title[i - begin] = '?';
        if (bytes[i] >= 0x20 && bytes[i] <= 0x7e) {
            ret_title[i - begin] = (char)bytes[i];
        }
    }
    ret_title[end - begin] = '\0';
}
