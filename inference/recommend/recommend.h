#ifndef MEDAID_INFERENCE_RECOMMEND_RECOMMEND_H
#define MEDAID_INFERENCE_RECOMMEND_RECOMMEND_H

/* What similar users accepted: user-based collaborative filtering, content-based scores for
 * those who have rated little or nothing, and both together. It proposes and explains; where
 * too few are similar it abstains.
 *
 * With r_ui the rating of item i by user u, m_u the mean of u's ratings, I_u what u rated:
 *
 *   cosine    s_uv = sum_{I_u and I_v} (r_ui - m_u)(r_vi - m_v)
 *                    / sqrt(sum_{I_u} (r_ui - m_u)^2  sum_{I_v} (r_vi - m_v)^2)
 *   Pearson   the same with both sums of squares and both means over I_u and I_v
 *             (Resnick et al., CSCW 1994)
 *   shrinkage s_uv := s_uv n / (n + shrinkage), n = |I_u and I_v| (Bell, Koren, ICDM 2007)
 *   score     p_ui = m_u + sum_v s_uv (r_vi - m_v) / sum_v |s_uv|, over the n_neighbours users
 *             v that rated i with the largest |s_uv| (Herlocker et al., SIGIR 1999)
 *   content   q_ui = sum_v c_uv r_vi / sum_v c_uv, over the n_neighbours users v that rated i
 *             with the largest c_uv = cosine of the feature vectors, c_uv >= min_likeness
 *   hybrid    (n_u p_ui + prior q_ui) / (n_u + prior), n_u = |I_u|
 *
 * Of equal similarities the user with the smaller number goes first. A score is cut to the
 * scale. Pure functions of the ratings; one workspace for each thread. */

#include "inference/recommend/ratings.h"

typedef enum md_likeness {
    MD_LIKENESS_COSINE,
    MD_LIKENESS_PEARSON
} md_likeness;

typedef struct md_recommend_options {
    md_likeness likeness;
    uint32_t n_neighbours; /* 1..MD_RECOMMEND_MAX_NEIGHBOURS */
    double shrinkage;      /* >= 0 */
    double prior;          /* how many ratings of his own outweigh the content score; >= 0 */
    double min_likeness;   /* of content neighbours, 0..1 */
    uint32_t min_support;  /* similar neighbours that a score needs, 1..n_neighbours */
    double accepted_from;  /* a rating of at least this counts as accepted */
} md_recommend_options;

enum {
    MD_RECOMMEND_MAX_NEIGHBOURS = 1000,
    MD_RECOMMEND_MAX_REASONS = 4
};

/* n_neighbours 40, shrinkage 10, prior 5, min_likeness 0.3, min_support 5, cosine, accepted
 * from the middle of the scale. */
md_recommend_options md_recommend_defaults(const md_ratings_options *shape);

/* By what an item is proposed. */
typedef enum md_recommend_basis {
    MD_BASIS_NONE, /* it abstains: too few similar users */
    MD_BASIS_COLLABORATIVE,
    MD_BASIS_CONTENT,
    MD_BASIS_HYBRID
} md_recommend_basis;

typedef struct md_recommendation {
    uint32_t item;
    md_recommend_basis basis;
    bool rated;   /* by the user himself */
    double score; /* on the scale; 0 when it abstains */
    /* Distinct similar neighbours behind it, and who of them accepted. Those who are unlike the
     * user (a likeness below 0) have their part in the score and are not among them. */
    uint32_t n_similar, n_accepted;
    /* The features in which those neighbours are like the user, the strongest first: index, and
     * the mean of the product of both features over the neighbours. Only what is above 0. */
    uint32_t n_reasons;
    uint32_t reason[MD_RECOMMEND_MAX_REASONS];
    float reason_weight[MD_RECOMMEND_MAX_REASONS];
} md_recommendation;

typedef struct md_recommender md_recommender;

/* Workspace for one thread; the ratings are borrowed until it is destroyed and may grow between
 * calls. MD_INVALID_ARG for options out of range. Caller destroys. */
md_status md_recommender_create(const md_ratings *ratings, const md_recommend_options *options,
                                md_recommender **ret_recommender, md_error *err) MD_NODISCARD;
void md_recommender_destroy(md_recommender *recommender);
MD_DEFINE_DESTROYP(md_recommender, md_recommender_destroy)

/* Score every item for a user that exists: ret_items has room for n_items; the best first,
 * those it abstains from last, equal ones by item number. What the user has rated is scored too
 * (and his rating of it counts in who is similar to him): the caller decides whether to show
 * it. MD_INVALID_ARG for an unknown user, MD_NOMEM. */
md_status md_recommend(md_recommender *recommender, uint32_t user, md_recommendation *ret_items,
                       md_error *err) MD_NODISCARD;

/* Whom to serve when not all of it is on record: a user with other features than he was added
 * with (of today), or nobody's features alone. */
typedef struct md_recommend_for {
    const float *features; /* n_features numbers, finite, of any length; NULL: all 0 */
    bool is_user;          /* the ratings are those of `user`; else there are none */
    uint32_t user;
} md_recommend_for;

/* The same for him; the ratings stay as they are. MD_INVALID_ARG also for features that are not
 * finite. */
md_status md_recommend_guest(md_recommender *recommender, const md_recommend_for *guest,
                             md_recommendation *ret_items, md_error *err) MD_NODISCARD;

#endif
