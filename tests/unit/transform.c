/* Names of transforms. */
#include "common/base/transform.h"

#include "tests/check.h"

static cloak_error error;
static cloak_transform list[CLOAK_TRANSFORMS_MAX];
static size_t count;

TEST(a_name_is_a_chain_of_parts) {
    CHECK_OK(cloak_transforms_parse("raw,jpeg75,x0.6+jpeg85,blur1.5,view1.25,jpegfull90", list, &count, &error));
    CHECK_INT(count, 6);
    CHECK_TEXT(list[0].name, "raw");
    CHECK(list[0].shrink == 1 && list[0].blur == 0 && list[0].quality == 0 && list[0].whole == 0 && list[0].view == 1);
    CHECK(list[1].quality == 75 && list[1].shrink == 1);
    CHECK_TEXT(list[2].name, "x0.6+jpeg85");
    CHECK(list[2].quality == 85);
    CHECK_NEAR(list[2].shrink, 0.6, 1e-6);
    CHECK_NEAR(list[3].blur, 1.5, 1e-6);
    CHECK_NEAR(list[4].view, 1.25, 1e-6);
    CHECK(list[5].whole == 90 && list[5].quality == 0);
    CHECK_OK(cloak_transforms_parse("", list, &count, &error));
    CHECK_INT(count, 0);
}

TEST(what_is_no_transform_is_named) {
    const char *wrong[] = {"jpeg", "jpeg0", "jpeg101", "x0", "x1.5", "x", "xx0.6", "jpeg75x", "view-1",
        "viewinf", "blurnan", "jpeg 75", "x0.6++jpeg75", ",raw", "raw,", "smaller", "x0x1"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_INT(cloak_transforms_parse(wrong[i], list, &count, &error), CLOAK_E_USAGE);
        CHECK(strstr(error.text, "is no transform") && strstr(error.text, "jpeg1 to jpeg100"));
    }
    CHECK_INT(cloak_transforms_parse("jpeg75,smaller", list, &count, &error), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "'smaller'"));
    CHECK_INT(cloak_transforms_parse("jpeg75+jpegfull90", list, &count, &error), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "'jpeg75+jpegfull90' has two JPEGs"));
}

TEST(there_is_a_limit) {
    char many[4 * (CLOAK_TRANSFORMS_MAX + 1)] = "raw", longest[CLOAK_TRANSFORM_NAME + 8] = "";
    for (int i = 1; i < CLOAK_TRANSFORMS_MAX; i++)
        strcat(many, ",raw");
    CHECK_OK(cloak_transforms_parse(many, list, &count, &error));
    CHECK_INT(count, CLOAK_TRANSFORMS_MAX);
    strcat(many, ",raw");
    CHECK_INT(cloak_transforms_parse(many, list, &count, &error), CLOAK_E_USAGE);
    while (strlen(longest) < CLOAK_TRANSFORM_NAME)
        strcat(longest, "raw+");
    CHECK_INT(cloak_transforms_parse(longest, list, &count, &error), CLOAK_E_USAGE);
}
