/* JPEG 2000 streams that opj_compress cannot be asked for: any depth and sign.
 * encode_j2k IN OUT WIDTH HEIGHT COMPONENTS BITS SIGNED TILE LOSSY_RATIO; IN holds planar
 * int32, OUT becomes a bare codestream. TILE 0: one tile. LOSSY_RATIO 0: lossless. */

#include "base/file.h"

#include <openjpeg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_message(const char *text, void *user)
{
    (void)user;
    fputs(text, stderr);
}

static opj_image_t *make_picture(const char *path, uint32_t width, uint32_t height, uint32_t n,
                                 uint32_t bits, bool is_signed)
{
    opj_image_cmptparm_t parameters[4];
    memset(parameters, 0, sizeof parameters);
    for (uint32_t c = 0; c < n; c++) {
        parameters[c].dx = parameters[c].dy = 1;
        parameters[c].w = width;
        parameters[c].h = height;
        parameters[c].prec = bits;
        parameters[c].sgnd = is_signed;
    }
    uint8_t *bytes = NULL;
    size_t size_bytes = 0, plane = (size_t)width * height * sizeof(int32_t);
    md_error err;
    if (md_file_read(path, (size_t)1 << 30, &bytes, &size_bytes, &err) != MD_OK ||
        size_bytes != plane * n) {
        fprintf(stderr, "cannot read the pixels\n");
        exit(1);
    }
    opj_image_t *picture =
        opj_image_create(n, parameters, n == 3 ? OPJ_CLRSPC_SRGB : OPJ_CLRSPC_GRAY);
    picture->x1 = width;
    picture->y1 = height;
    for (uint32_t c = 0; c < n; c++) {
        memcpy(picture->comps[c].data, bytes + c * plane, plane);
    }
    md_free(bytes);
    return picture;
}

int main(int argc, char **argv)
{
    if (argc != 10) {
        fprintf(stderr, "usage: see the source\n");
        return 2;
    }
    unsigned long number[10];
    for (int i = 3; i < 10; i++) {
        number[i] = strtoul(argv[i], NULL, 10);
    }
    uint32_t n = (uint32_t)number[5];
    opj_image_t *picture = make_picture(argv[1], (uint32_t)number[3], (uint32_t)number[4], n,
                                        (uint32_t)number[6], number[7] != 0);
    opj_cparameters_t parameters;
    opj_set_default_encoder_parameters(&parameters);
    parameters.tcp_mct = n == 3;
    parameters.cp_disto_alloc = 1;
    parameters.tcp_numlayers = 1;
    parameters.tcp_rates[0] = (float)number[9];
    parameters.irreversible = number[9] != 0;
    if (number[8] != 0) {
        parameters.tile_size_on = OPJ_TRUE;
        parameters.cp_tdx = parameters.cp_tdy = (int)number[8];
    }
    opj_codec_t *codec = opj_create_compress(OPJ_CODEC_J2K);
    opj_set_error_handler(codec, print_message, NULL);
    opj_stream_t *stream = opj_stream_create_default_file_stream(argv[2], OPJ_FALSE);
    bool is_good = stream != NULL && opj_setup_encoder(codec, &parameters, picture) &&
                   opj_start_compress(codec, picture, stream) && opj_encode(codec, stream) &&
                   opj_end_compress(codec, stream);
    opj_stream_destroy(stream);
    opj_destroy_codec(codec);
    opj_image_destroy(picture);
    return is_good ? 0 : 1;
}
