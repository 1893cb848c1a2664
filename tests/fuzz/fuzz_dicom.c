/* One DICOM file of any bytes: read, decode its first and last frame, normalise. For libFuzzer,
 * and for mutate.c under plain meson test. Sizes are capped so that a run stays short; what is
 * beyond the cap is refused before anything is allocated in the real program too. */

#include "fuzz_dicom.h"

#include "dicom/dataset/dicomdir.h"
#include "dicom/image/normalise.h"

enum {
    MAX_PIXELS = 1 << 20
};

static void try_frame(const md_dataset *dataset, uint32_t frame)
{
    md_image image = {0};
    md_raster raster = {0};
    md_steps steps = {0};
    md_error err;
    if (md_image_decode(dataset, frame, &image, &err) != MD_OK) {
        return;
    }
    if (md_image_normalise(&image, MD_VALUES_DISPLAY, &raster, &steps, &err) == MD_OK) {
        md_raster_finish(&raster);
    }
    if (md_image_normalise_taking(&image, MD_VALUES_DISPLAY, &raster, NULL, &err) == MD_OK) {
        (void)!md_raster_expand(&raster, &err);
        md_raster_finish(&raster);
    }
    md_image_finish(&image);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size_bytes)
{
    static const uint32_t text_tags[] = {MD_TAG(0x10, 0x10), MD_TAG(0x08, 0x103e),
                                         MD_TAG(0x08, 0x60)};
    md_error err;
    md_dataset *dataset = NULL;
    if (md_dicom_init(&err) != MD_OK ||
        md_dataset_parse(bytes, size_bytes, &dataset, &err) != MD_OK) {
        return 0;
    }
    char text[MD_TEXT_BYTES];
    for (size_t i = 0; i < sizeof text_tags / sizeof *text_tags; i++) {
        (void)md_dataset_get_text(dataset, text_tags[i], 0, text, sizeof text);
    }
    int64_t rows = 0, columns = 0;
    (void)md_dataset_get_int(dataset, MD_TAG(0x28, 0x10), 0, &rows);
    (void)md_dataset_get_int(dataset, MD_TAG(0x28, 0x11), 0, &columns);
    uint32_t n_frames = 0;
    if (rows * columns <= MAX_PIXELS &&
        md_image_count_frames(dataset, &n_frames, &err) == MD_OK) {
        try_frame(dataset, 0);
        try_frame(dataset, n_frames - 1);
    }
    md_dicomdir list = {0};
    if (md_dataset_is_dicomdir(dataset) &&
        md_dicomdir_read(dataset, "/nonexistent/DICOMDIR", &list, &err) == MD_OK) {
        md_dicomdir_finish(&list);
    }
    md_dataset_destroy(dataset);
    return 0;
}
