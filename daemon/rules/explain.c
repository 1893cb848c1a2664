#include "daemon/rules/explain.h"

#include "daemon/rules/tags.h"
#include "dicom/network/part10.h"

#include <jansson.h>
#include <string.h>

/* A deflated dataset may grow to this. */
#define MAX_INFLATED_BYTES (UINT64_C(1) << 30)

md_status md_explain_read(const md_conf *conf, int fd, const md_explain_sender *sender,
                          md_tag_set *ret_set, md_error *err)
{
    md_part10 head;
    md_wanted wanted;
    md_identity identity;
    md_tags_wanted(conf, &wanted);
    MD_TRY(md_part10_read(fd, &head, err));
    MD_TRY(md_identity_read_parts(fd, head.dataset_offset_bytes, NULL,
                                  md_transfer_syntax_encoding(head.transfer_syntax_uid),
                                  MAX_INFLATED_BYTES, &wanted, &identity, err));
    memset(ret_set, 0, sizeof *ret_set);
    md_tags_write(&wanted, &identity, ret_set->tags);
    snprintf(ret_set->sop_class_uid, sizeof ret_set->sop_class_uid, "%s",
             identity.sop_class_uid);
    snprintf(ret_set->source_ae, sizeof ret_set->source_ae, "%s", sender->source_ae);
    snprintf(ret_set->called_ae, sizeof ret_set->called_ae, "%s", sender->called_ae);
    ret_set->n_instances = 1;
    return MD_OK;
}

static const char *priority_name(int priority)
{
    return priority >= MD_CONF_PRIORITY_HIGH     ? "HIGH"
           : priority >= MD_CONF_PRIORITY_MEDIUM ? "MEDIUM"
                                                 : "LOW";
}

static bool applies(const md_plan *plan, const md_rule *rule)
{
    for (unsigned i = 0; i < plan->n_rules; i++) {
        if (plan->rules[i] == rule) {
            return true;
        }
    }
    return false;
}

static void plan_of(const md_conf *conf, const md_rule_facts *facts, md_plan *ret_plan)
{
    const md_policy policy = {.conf = conf};
    md_plan_make(&policy, facts, ret_plan);
}

static md_rule_facts facts_of(const md_tag_set *sets, size_t n_sets,
                              const md_explain_sender *sender)
{
    return (md_rule_facts){.sets = sets,
                           .n_sets = n_sets,
                           .called = sender->called_ae,
                           .complete_ms = sender->complete_ms};
}

static void step_to_json(void *context, const md_rule_step *step)
{
    json_t *steps = context;
    (void)json_array_append_new(steps, json_pack("{s:i, s:b, s:s, s:s}", "depth",
                                                 (int)step->depth, "holds", (int)step->holds,
                                                 "wanted", step->wanted, "found", step->found));
}

static json_t *plan_to_json(const md_conf *conf, const md_plan *plan)
{
    json_t *models = plan->some_models ? json_array() : json_null();
    json_t *destinations = json_array();
    for (unsigned i = 0; i < plan->n_models && plan->some_models; i++) {
        (void)json_array_append_new(models, json_string(plan->models[i]));
    }
    for (unsigned i = 0; i < conf->n_destinations; i++) {
        if (md_plan_wants_result(conf, plan, NULL, MD_OBJECT_SR, i) ||
            md_plan_wants_result(conf, plan, NULL, MD_OBJECT_PICTURE, i)) {
            (void)json_array_append_new(destinations, json_string(conf->destinations[i].name));
        }
    }
    return json_pack("{s:b, s:o, s:s, s:s, s:o}", "analyse", (int)plan->analyse, "models",
                     models, "priority", priority_name(plan->priority), "lacks", plan->missing,
                     "destinations", destinations);
}

char *md_explain_json(const md_conf *conf, const md_tag_set *sets, size_t n_sets,
                      const md_explain_sender *sender)
{
    const md_rule_facts facts = facts_of(sets, n_sets, sender);
    md_plan plan;
    json_t *rules = json_array();
    plan_of(conf, &facts, &plan);
    for (unsigned i = 0; i < conf->n_rules; i++) {
        const md_rule *rule = &conf->rules[i];
        json_t *steps = json_array();
        bool matches = md_rule_explain(rule, &facts, step_to_json, steps);
        (void)json_array_append_new(
            rules,
            json_pack("{s:s, s:s, s:b, s:b, s:o}", "name", rule->name, "phase",
                      rule->needs_findings ? "analysed" : "complete", "matches", (int)matches,
                      "applies", (int)applies(&plan, rule), "conditions", steps));
    }
    json_t *root =
        json_pack("{s:s, s:o, s:o}", "mode", conf->rules_mode == MD_RULES_ALL ? "all" : "first",
                  "rules", rules, "plan", plan_to_json(conf, &plan));
    char *text = root == NULL ? NULL : json_dumps(root, JSON_INDENT(1));
    json_decref(root);
    return text;
}

static void print_step(void *context, const md_rule_step *step)
{
    fprintf(context, "  %*s%s %s; found: %s\n", (int)(2 * (step->depth % 32)), "",
            step->holds ? "yes" : "NO ", step->wanted, step->found);
}

void md_explain_print(const md_conf *conf, const md_tag_set *sets, size_t n_sets,
                      const md_explain_sender *sender, FILE *out)
{
    const md_rule_facts facts = facts_of(sets, n_sets, sender);
    md_plan plan;
    plan_of(conf, &facts, &plan);
    for (unsigned i = 0; i < conf->n_rules; i++) {
        const md_rule *rule = &conf->rules[i];
        bool matches = md_rule_matches(rule, &facts);
        fprintf(out, "%s: %s%s\n", rule->name,
                applies(&plan, rule)   ? "matches, and decides"
                : rule->needs_findings ? "is judged when the findings are there"
                : matches              ? "matches, but an earlier rule decides"
                                       : "does not match",
                rule->when == NULL ? " (it has no condition)" : "");
        (void)md_rule_explain(rule, &facts, print_step, out);
    }
    if (conf->n_rules == 0) {
        fputs("the configuration has no rules\n", out);
    }
    fprintf(out, "so: %s, priority %s%s%s\n", plan.analyse ? "analysed" : "not analysed",
            priority_name(plan.priority), plan.missing[0] != '\0' ? ", waits for " : "",
            plan.missing);
    for (unsigned i = 0; i < plan.n_models && plan.some_models && plan.analyse; i++) {
        fprintf(out, "    model %s\n", plan.models[i]);
    }
}
