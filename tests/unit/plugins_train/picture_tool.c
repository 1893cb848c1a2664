/* For check_picture.py: reads paths from standard input, one a line, and writes for each either
 * uint32 0, width, height, channels and the float32 values of the picture, or uint32 status,
 * length and that many bytes of message. */

#include "dicom/dataset/dataset.h"
#include "plugins/train/picture.h"

#include <stdio.h>
#include <string.h>

static void put(const void *bytes, size_t size_bytes)
{
    (void)fwrite(bytes, 1, size_bytes, stdout);
}

int main(void)
{
    char path[4096];
    md_error err = {0};
    const md_preprocess_spec spec = {.values = MD_VALUES_DISPLAY};
    const md_image_least whole = {0};
    if (md_dicom_init(&err) != MD_OK) {
        return 1;
    }
    while (fgets(path, sizeof path, stdin) != NULL) {
        md_raster raster = {0};
        path[strcspn(path, "\n")] = '\0';
        md_status status = md_picture_read(path, &spec, &whole, &raster, &err);
        if (status == MD_OK) {
            status = md_raster_expand(&raster, &err);
        }
        if (status == MD_OK) {
            const uint32_t head[] = {0, raster.width, raster.height, raster.n_channels};
            put(head, sizeof head);
            put(raster.values,
                (size_t)raster.width * raster.height * raster.n_channels * sizeof(float));
            md_raster_finish(&raster);
        } else {
            const uint32_t head[] = {(uint32_t)status, (uint32_t)strlen(err.msg)};
            put(head, sizeof head);
            put(err.msg, strlen(err.msg));
        }
    }
    md_dicom_finish();
    return 0;
}
