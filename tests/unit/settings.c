/* Album settings as JSON. */
#include "common/report/settings.h"

#include "tests/check.h"

static cloak_error error;

static cloak_settings standard(void) {
    cloak_settings settings;
    CHECK_OK(cloak_settings_preset("standard", "none", &settings, &error));
    return settings;
}

TEST(a_round_trip_changes_nothing) {
    cloak_settings settings = standard(), back;
    settings.seed = 9007199254740991;
    char *json = cloak_settings_json(&settings), *again;
    CHECK_OK(cloak_settings_parse(json, &back, &error));
    again = cloak_settings_json(&back);
    CHECK_TEXT(again, json);
    CHECK_NEAR(back.eps, 5 / 255.0, 0);
    CHECK_INT(back.seed, settings.seed);
    CHECK_TEXT(back.preset, "standard");
    free(json);
    free(again);
    cloak_settings_free(&settings);
    cloak_settings_free(&back);
}

TEST(an_unknown_preset_names_those_there_are) {
    cloak_settings settings;
    CHECK_INT(cloak_settings_preset("loud", NULL, &settings, &error), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "loud") && strstr(error.text, "faint standard broad shared"));
}

TEST(presets_differ_in_what_they_are_for) {
    cloak_settings faint, broad, shared, usual = standard();
    CHECK_OK(cloak_settings_preset("faint", NULL, &faint, &error));
    CHECK_OK(cloak_settings_preset("broad", "none", &broad, &error));
    CHECK_OK(cloak_settings_preset("shared", "none", &shared, &error));
    CHECK(broad.diversity > 0 && usual.diversity == 0);
    CHECK(faint.eps < usual.eps && usual.eps < shared.eps);
    CHECK(!*faint.survive && !*usual.survive && strstr(shared.survive, "jpeg75"));
    CHECK_OK(cloak_settings_check(&shared, &error));
    cloak_settings_free(&faint);
    cloak_settings_free(&broad);
    cloak_settings_free(&shared);
    cloak_settings_free(&usual);
}

/* The standard settings with one piece of their JSON replaced. */
static cloak_status parse_with(const char *old, const char *new) {
    cloak_settings settings = standard(), back = {0};
    char *json = cloak_settings_json(&settings), *at = strstr(json, old), changed[2000];
    CHECK(at != NULL);
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - json), json, new, at + strlen(old));
    cloak_status status = cloak_settings_parse(changed, &back, &error);
    free(json);
    cloak_settings_free(&settings);
    cloak_settings_free(&back);
    return status;
}

TEST(refuses_what_no_worker_could_do) {
    CHECK_INT(parse_with("\"region\":3", "\"region\":4"), CLOAK_OK);
    CHECK_INT(parse_with("\"region\":3", "\"region\":501"), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "region"));
    CHECK_INT(parse_with("\"region\":3", "\"region\":\"3\""), CLOAK_E_USAGE);
    CHECK_INT(parse_with("\"region\":3,", ""), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "region"));
    CHECK_INT(parse_with("\"max_steps\":40", "\"max_steps\":0"), CLOAK_E_USAGE);
    CHECK_INT(parse_with("\"max_steps\":40", "\"max_steps\":1.5"), CLOAK_E_USAGE);
    CHECK_INT(parse_with("\"seed\":0", "\"seed\":-1"), CLOAK_E_USAGE);
    CHECK_INT(parse_with("\"diversity\":0", "\"diversity\":0.5"), CLOAK_OK);
    CHECK_INT(parse_with("\"diversity\":0", "\"diversity\":1.5"), CLOAK_E_USAGE);
    CHECK_INT(parse_with("\"survive\":\"\"", "\"survive\":\"jpeg75\""), CLOAK_OK);
    CHECK_INT(parse_with("\"survive\":\"\"", "\"survive\":\"fire\""), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "'fire'"));
    CHECK_INT(parse_with("\"metadata\":\"safe\"", "\"metadata\":\"some\""), CLOAK_E_USAGE);
    CHECK_INT(parse_with("{", "{\"invisible\":true,"), CLOAK_E_USAGE); /* never ignored */
    CHECK_INT(parse_with("{", "["), CLOAK_E_USAGE);
}

TEST(eps_is_counted_in_whole_levels) {
    cloak_settings settings = standard();
    const struct {
        double eps;
        cloak_status want;
    } cases[] = {{1 / 255.0, CLOAK_OK}, {0.003922, CLOAK_OK}, {0.0039, CLOAK_E_USAGE},
        {63 / 255.0, CLOAK_OK}, {0.3, CLOAK_E_USAGE}, {0, CLOAK_E_USAGE}, {NAN, CLOAK_E_USAGE}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        settings.eps = cases[i].eps;
        CHECK_INT(cloak_settings_check(&settings, &error), cases[i].want);
    }
    cloak_settings_free(&settings);
}
