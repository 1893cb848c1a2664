/* Frames for the comparers in Python. Each line of standard input asks for one: FRAME MODE
 * FILE, with MODE stored, display or physical. The answer is a JSON line, which says how many
 * bytes of planar pixels follow it, or tells the error. One process for all, because loading
 * DCMTK's dictionary takes longer than most frames. */

#include "dicom/image/normalise.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_error(const md_error *err)
{
    json_t *line = json_pack("{s:s, s:s, s:i}", "status", md_status_name(err->status), "error",
                             err->msg, "bytes", 0);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(line);
}

static void print_pixels(json_t *line, const void *pixels, size_t n_bytes)
{
    json_object_set_new(line, "bytes", json_integer((json_int_t)n_bytes));
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    fwrite(pixels, 1, n_bytes, stdout);
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

static void dump_raster(const md_image *image, const char *mode, json_t *line)
{
    md_raster raster = {0};
    md_steps steps = {0};
    md_error err;
    md_normalise_values values =
        strcmp(mode, "physical") == 0 ? MD_VALUES_PHYSICAL : MD_VALUES_DISPLAY;
    if (md_image_normalise(image, values, &raster, &steps, &err) != MD_OK) {
        print_error(&err);
        return;
    }
    json_t *list = json_array();
    for (unsigned i = 0; i < steps.n; i++) {
        json_array_append_new(list, json_string(steps.text[i]));
    }
    json_object_set_new(line, "steps", list);
    json_object_set_new(line, "channels", json_integer(raster.n_channels));
    size_t n = (size_t)raster.width * raster.height * raster.n_channels;
    print_pixels(line, raster.values, n * sizeof(float));
    md_raster_finish(&raster);
}

static void dump(const md_dataset *dataset, uint32_t frame, const char *mode)
{
    uint32_t n_frames = 0;
    md_image image = {0};
    md_error err;
    if (md_image_count_frames(dataset, &n_frames, &err) != MD_OK ||
        md_image_decode(dataset, frame, &image, &err) != MD_OK) {
        print_error(&err);
        return;
    }
    json_t *line = describe(&image, n_frames);
    if (strcmp(mode, "stored") == 0) {
        bool is_wide = image.type == MD_PIXEL_U16 || image.type == MD_PIXEL_S16;
        size_t n = (size_t)image.rows * image.columns * image.n_channels;
        print_pixels(line, image.pixels, is_wide ? 2 * n : n);
    } else {
        dump_raster(&image, mode, line);
    }
    json_decref(line);
    md_image_finish(&image);
}

int main(void)
{
    md_error err;
    char request[4096], mode[16];
    if (md_dicom_init(&err) != MD_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    while (fgets(request, sizeof request, stdin) != NULL) {
        unsigned frame = 0;
        int path_at = 0;
        request[strcspn(request, "\n")] = '\0';
        if (sscanf(request, "%u %15s %n", &frame, mode, &path_at) != 2) {
            fprintf(stderr, "a request is FRAME MODE FILE\n");
            return 2;
        }
        md_dataset *dataset = NULL;
        if (md_dataset_open(request + path_at, &dataset, &err) == MD_OK) {
            dump(dataset, frame, mode);
        } else {
            print_error(&err);
        }
        md_dataset_destroy(dataset);
        fflush(stdout);
    }
    md_dicom_finish();
    return 0;
}
