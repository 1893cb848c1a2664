#include "inference/similar/hnsw.h"

#include "inference/similar/dot.h"

#include <exception>
#include <memory>
#include <mutex>
#include <new>

/* Its prefetching reads a link beyond the end of a list; distances are ours anyway. */
#define NO_MANUAL_VECTORIZATION
#include <hnswlib/hnswlib.h>

namespace
{

/* What hnswlib keeps of a vector is its slot; a query has none. */
constexpr uint32_t QUERY = UINT32_MAX;
thread_local const float *query_vector;

const float *vector_of(const md_hnsw_options &options, const void *stored)
{
    uint32_t slot = 0;
    memcpy(&slot, stored, sizeof slot);
    return slot == QUERY ? query_vector : options.vector(options.owner, slot);
}

/* 1 - inner product, smaller is nearer. */
float distance(const void *a, const void *b, const void *parameter)
{
    const auto &options = *static_cast<const md_hnsw_options *>(parameter);
    return 1.0F - md_dot(vector_of(options, a), vector_of(options, b), options.n_dims);
}

class slot_space final : public hnswlib::SpaceInterface<float>
{
  public:
    explicit slot_space(md_hnsw_options *options) : options_(options)
    {
    }
    size_t get_data_size() override
    {
        return sizeof(uint32_t);
    }
    hnswlib::DISTFUNC<float> get_dist_func() override
    {
        return distance;
    }
    void *get_dist_func_param() override
    {
        return options_;
    }

  private:
    md_hnsw_options *options_;
};

/* Run the body and turn what it throws into a status. */
template <typename Body> md_status guard(md_error *err, const char *where, Body body) noexcept
{
    try {
        body();
        return MD_OK;
    } catch (const std::bad_alloc &) {
        return md_error_set(err, MD_NOMEM, where, "no memory for the graph of neighbours");
    } catch (const std::exception &e) {
        return md_error_set(err, MD_INTERNAL, where, "graph of neighbours: %.200s", e.what());
    } catch (...) {
        return md_error_set(err, MD_INTERNAL, where, "graph of neighbours: unknown error");
    }
}

} // namespace

struct md_hnsw {
    md_hnsw_options options;
    std::unique_ptr<slot_space> space;
    std::unique_ptr<hnswlib::HierarchicalNSW<float>> graph;
};

md_status md_hnsw_create(const md_hnsw_options *options, md_hnsw **ret_hnsw,
                         md_error *err) noexcept
{
    return guard(err, __func__, [&] {
        auto made = std::make_unique<md_hnsw>();
        made->options = *options;
        made->space = std::make_unique<slot_space>(&made->options);
        made->graph = std::make_unique<hnswlib::HierarchicalNSW<float>>(
            made->space.get(), options->capacity, options->n_links, options->ef_build, 1);
        made->graph->setEf(options->ef_search);
        *ret_hnsw = made.release();
    });
}

md_status md_hnsw_load(const md_hnsw_options *options, const char *path, uint32_t n_slots,
                       md_hnsw **ret_hnsw, md_error *err) noexcept
{
    bool fits = false;
    md_status status = guard(err, __func__, [&] {
        auto made = std::make_unique<md_hnsw>();
        made->options = *options;
        made->space = std::make_unique<slot_space>(&made->options);
        made->graph = std::make_unique<hnswlib::HierarchicalNSW<float>>(
            made->space.get(), path, false, options->capacity);
        made->graph->setEf(options->ef_search);
        fits = made->graph->cur_element_count == n_slots && made->graph->M_ == options->n_links;
        if (fits) {
            *ret_hnsw = made.release();
        }
    });
    if (status == MD_OK && !fits) {
        return md_fail(err, MD_FORMAT, "the graph of neighbours does not fit the vectors");
    }
    return status;
}

void md_hnsw_destroy(md_hnsw *hnsw) noexcept
{
    delete hnsw;
}

md_status md_hnsw_add(md_hnsw *hnsw, uint32_t slot, md_error *err) noexcept
{
    return guard(err, __func__, [&] { hnsw->graph->addPoint(&slot, slot); });
}

md_status md_hnsw_remove(md_hnsw *hnsw, uint32_t slot, md_error *err) noexcept
{
    return guard(err, __func__, [&] { hnsw->graph->markDelete(slot); });
}

md_status md_hnsw_search(const md_hnsw *hnsw, const float *query, uint32_t k,
                         uint32_t *ret_slots, float *ret_products, uint32_t *ret_n,
                         md_error *err) noexcept
{
    return guard(err, __func__, [&] {
        query_vector = query;
        auto found = hnsw->graph->searchKnn(&QUERY, k);
        uint32_t n = static_cast<uint32_t>(found.size());
        *ret_n = n;
        while (!found.empty()) { /* the farthest first */
            n--;
            ret_slots[n] = static_cast<uint32_t>(found.top().second);
            ret_products[n] = 1.0F - found.top().first;
            found.pop();
        }
    });
}

md_status md_hnsw_save(md_hnsw *hnsw, const char *path, md_error *err) noexcept
{
    md_status status = guard(err, __func__, [&] { hnsw->graph->saveIndex(path); });
    if (status == MD_INTERNAL) {
        return md_fail(err, MD_IO, "cannot write the graph of neighbours");
    }
    return status;
}

size_t md_hnsw_bytes(const md_hnsw *hnsw) noexcept
{
    const auto &graph = *hnsw->graph;
    return graph.max_elements_ * (graph.size_data_per_element_ + sizeof(void *)) +
           graph.cur_element_count * graph.size_links_per_element_ / (graph.M_ - 1);
}
