#include "inference/graph/node_import.h"

#include <string.h>

/* Where the payload is decides the type when the model leaves `type` out (IR version 1). */
static Onnx__AttributeProto__AttributeType type_of(const Onnx__AttributeProto *attribute)
{
    if (attribute->has_type) {
        return attribute->type;
    }
    if (attribute->has_f) {
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
    }
    if (attribute->has_i) {
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
    }
    if (attribute->has_s) {
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
    }
    if (attribute->t != NULL) {
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
    }
    if (attribute->g != NULL) {
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
    }
    if (attribute->n_strings > 0) {
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
    }
    if (attribute->n_floats > 0) {
        return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS;
    }
    return ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
}

md_status md_attribute_find(md_node_import *b, const char *name,
                            Onnx__AttributeProto__AttributeType type,
                            const Onnx__AttributeProto **ret_attribute)
{
    *ret_attribute = NULL;
    for (size_t i = 0; i < b->proto->n_attribute; i++) {
        const Onnx__AttributeProto *attribute = b->proto->attribute[i];
        if (attribute->name == NULL || strcmp(attribute->name, name) != 0) {
            continue;
        }
        if (*ret_attribute != NULL) {
            return md_import_fail(b, MD_FORMAT, "attribute '%.32s' is given twice", name);
        }
        if (type_of(attribute) != type) {
            return md_import_fail(b, MD_FORMAT, "attribute '%.32s' has type %d, not %d", name,
                                  (int)type_of(attribute), (int)type);
        }
        if (attribute->ref_attr_name != NULL && attribute->ref_attr_name[0] != '\0') {
            return md_import_fail(b, MD_UNSUPPORTED,
                                  "attribute '%.32s' refers to a function's attribute", name);
        }
        b->attributes_used |= (uint64_t)1 << i;
        *ret_attribute = attribute;
    }
    return MD_OK;
}

md_status md_attribute_int(md_node_import *b, const char *name, int64_t fallback, int64_t *ret)
{
    const Onnx__AttributeProto *attribute;
    MD_TRY(md_attribute_find(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT, &attribute));
    *ret = attribute == NULL ? fallback : attribute->i;
    return MD_OK;
}

md_status md_attribute_float(md_node_import *b, const char *name, float fallback, float *ret)
{
    const Onnx__AttributeProto *attribute;
    MD_TRY(
        md_attribute_find(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT, &attribute));
    *ret = attribute == NULL ? fallback : attribute->f;
    return MD_OK;
}

md_status md_attribute_ints(md_node_import *b, const char *name, const int64_t **ret_values,
                            size_t *ret_n)
{
    const Onnx__AttributeProto *attribute;
    MD_TRY(md_attribute_find(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS, &attribute));
    *ret_values = attribute == NULL ? NULL : attribute->ints;
    *ret_n = attribute == NULL ? 0 : attribute->n_ints;
    return MD_OK;
}

md_status md_attribute_choice(md_node_import *b, const char *name, const char *const *choices,
                              int fallback, int *ret_index)
{
    const Onnx__AttributeProto *attribute;
    MD_TRY(
        md_attribute_find(b, name, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING, &attribute));
    if (attribute == NULL) {
        *ret_index = fallback;
        return MD_OK;
    }
    for (int i = 0; choices[i] != NULL; i++) {
        if (strlen(choices[i]) == attribute->s.len &&
            memcmp(choices[i], attribute->s.data, attribute->s.len) == 0) {
            *ret_index = i;
            return MD_OK;
        }
    }
    return md_import_fail(b, MD_UNSUPPORTED, "attribute '%s' = '%.*s' is not supported", name,
                          attribute->s.len < 32 ? (int)attribute->s.len : 32,
                          attribute->s.data == NULL ? "" : (const char *)attribute->s.data);
}

md_status md_attributes_finish(md_node_import *b)
{
    for (size_t i = 0; i < b->proto->n_attribute; i++) {
        if ((b->attributes_used >> i & 1) == 0) {
            const char *name = b->proto->attribute[i]->name;
            return md_import_fail(b, MD_UNSUPPORTED, "attribute '%.32s' is not supported",
                                  name == NULL ? "" : name);
        }
    }
    return MD_OK;
}
