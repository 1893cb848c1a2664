/* One frame for the comparers in Python: dump_frame FILE FRAME stored|display|physical writes a
 * JSON line and then the pixels, planar, or a JSON line with the error and leaves with 1. */

#include "dicom/image/normalise.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int print_error(const md_error *err)
{
    json_t *line =
        json_pack("{s:s, s:s}", "status", md_status_name(err->status), "error", err->msg);
    json_dumpf(line, stdout, JSON_COMPACT);
    json_decref(line);
    return 1;
}

static json_t *lut_json(const md_lut *lut)
{
    return json_pack("[i, i, i]", (int)lut->n_entries, (int)lut->first, (int)lut->bits);
}

static json_t *describe(const md_image *image, uint32_t n_frames)
{
    static const char *const types[] = {"uint8", "int8", "uint16", "int16"};
    static const char *const photometrics[] = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR",
                                               "RGB"};
    return json_pack(
        "{s:i, s:i, s:i, s:i, s:s, s:i, s:s, s:f, s:f, s:o, s:o, s:b, s:f, s:f, s:i, "
        "s:b, s:f, s:f, s:s, s:b}",
        "frames", (int)n_frames, "rows", (int)image->rows, "columns", (int)image->columns,
        "channels", (int)image->n_channels, "type", types[image->type], "bits",
        (int)image->bits_stored, "photometric", photometrics[image->photometric], "slope",
        image->rescale_slope, "intercept", image->rescale_intercept, "modality_lut",
        lut_json(&image->modality_lut), "voi_lut", lut_json(&image->voi_lut), "has_window",
        (int)image->has_window, "center", image->window_center, "width", image->window_width,
        "function", (int)image->voi_function, "has_spacing", (int)image->has_spacing,
        "pixel_width", image->pixel_width_mm, "pixel_height", image->pixel_height_mm,
        "modality", image->modality, "lossy", (int)image->lossy);
}

static int dump(const md_dataset *dataset, uint32_t frame, const char *mode, md_error *err)
{
    uint32_t n_frames = 0;
    md_image image = {0};
    if (md_image_count_frames(dataset, &n_frames, err) != MD_OK ||
        md_image_decode(dataset, frame, &image, err) != MD_OK) {
        return print_error(err);
    }
    json_t *line = describe(&image, n_frames);
    size_t n = (size_t)image.rows * image.columns;
    int code = 0;
    if (strcmp(mode, "stored") == 0) {
        bool is_wide = image.type == MD_PIXEL_U16 || image.type == MD_PIXEL_S16;
        json_dumpf(line, stdout, JSON_COMPACT);
        putchar('\n');
        fwrite(image.pixels, is_wide ? 2 : 1, n * image.n_channels, stdout);
    } else {
        md_raster raster = {0};
        md_steps steps = {0};
        md_normalise_values values =
            strcmp(mode, "physical") == 0 ? MD_VALUES_PHYSICAL : MD_VALUES_DISPLAY;
        if (md_image_normalise(&image, values, &raster, &steps, err) != MD_OK) {
            code = print_error(err);
        } else {
            json_t *list = json_array();
            for (unsigned i = 0; i < steps.n; i++) {
                json_array_append_new(list, json_string(steps.text[i]));
            }
            json_object_set_new(line, "steps", list);
            json_object_set_new(line, "channels", json_integer(raster.n_channels));
            json_dumpf(line, stdout, JSON_COMPACT);
            putchar('\n');
            fwrite(raster.values, sizeof(float), n * raster.n_channels, stdout);
        }
        md_raster_finish(&raster);
    }
    json_decref(line);
    md_image_finish(&image);
    return code;
}

int main(int argc, char **argv)
{
    md_error err;
    md_dataset *dataset = NULL;
    if (argc != 4) {
        fprintf(stderr, "usage: dump_frame FILE FRAME stored|display|physical\n");
        return 2;
    }
    if (md_dicom_init(&err) != MD_OK || md_dataset_open(argv[1], &dataset, &err) != MD_OK) {
        return print_error(&err);
    }
    int code = dump(dataset, (uint32_t)strtoul(argv[2], NULL, 10), argv[3], &err);
    md_dataset_destroy(dataset);
    md_dicom_finish();
    return code;
}
