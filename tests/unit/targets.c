/* Lists of targets: what users say, what settings hold, which files both mean. */
#include "common/report/targets.h"

#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "tests/check.h"

static cloak_error error;

/* A targets folder with empty targets of these names; `folder` is a temporary one. */
static void install(const char *folder, const char *const names[], size_t count) {
    setenv("CLOAK_TARGETS", folder, 1);
    for (size_t i = 0; i < count; i++) {
        char *onnx = cloak_target_path(names[i]), *said = cloak_target_descriptor(onnx);
        CHECK_OK(cloak_file_write(onnx, names[i], strlen(names[i]), &error));
        CHECK_OK(cloak_file_write(said, "{}", 2, &error));
        free(onnx);
        free(said);
    }
}

static const char *const two[] = {"yunet", "centerface"};

TEST(all_none_and_names_are_chosen) {
    const char *folder = check_folder();
    cloak_target_list list;
    install(folder, two, 2);
    CHECK_OK(cloak_targets_choose("all", &list, &error));
    CHECK_INT(list.count, 2);
    CHECK_TEXT(list.items[0].name, "centerface"); /* sorted */
    cloak_targets_free(&list);
    CHECK_OK(cloak_targets_choose("none", &list, &error));
    CHECK_INT(list.count, 0);
    cloak_targets_free(&list);
    CHECK_OK(cloak_targets_choose("yunet", &list, &error));
    char *text = cloak_targets_text(&list);
    CHECK(strncmp(text, "yunet@", 6) == 0 && strlen(text) == 6 + CLOAK_TARGET_MARK - 1);
    free(text);
    cloak_targets_free(&list);
}

TEST(what_is_not_there_is_named) {
    cloak_target_list list;
    const char *folder = check_folder();
    install(folder, two, 2);
    CHECK_INT(cloak_targets_choose("nobody", &list, &error), CLOAK_E_USAGE);
    CHECK(strstr(error.text, "nobody") && strstr(error.text, "centerface yunet"));
    CHECK_INT(cloak_targets_choose("yunet,yunet", &list, &error), CLOAK_E_USAGE);
    CHECK_INT(cloak_targets_choose("no/such.onnx", &list, &error), CLOAK_E_USAGE);
    CHECK_INT(cloak_targets_choose("", &list, &error), CLOAK_E_USAGE);
    setenv("CLOAK_TARGETS", "/nonexistent/targets", 1);
    CHECK_OK(cloak_targets_choose("all", &list, &error));
    CHECK_INT(list.count, 0);
}

TEST(settings_text_comes_back) {
    const char *folder = check_folder();
    cloak_target_list list, back;
    install(folder, two, 2);
    CHECK_OK(cloak_targets_choose("all", &list, &error));
    char *text = cloak_targets_text(&list), *again;
    CHECK_OK(cloak_targets_parse(text, &back, &error));
    again = cloak_targets_text(&back);
    CHECK_TEXT(again, text);
    CHECK_OK(cloak_target_check(&back.items[1], &error));
    free(text);
    free(again);
    cloak_targets_free(&back);
    cloak_targets_free(&list);
    CHECK_OK(cloak_targets_parse("", &list, &error));
    CHECK_INT(list.count, 0);
    static const char *const bad[] = {"yunet", "yunet@", "@0123456789ab", "yunet@0123456789aB",
        "yunet@0123456789abc", "Yunet@0123456789ab", "yunet@0123456789ab,", ","};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(cloak_targets_parse(bad[i], &list, &error), CLOAK_E_USAGE);
}

TEST(another_file_of_the_name_is_not_the_target) {
    const char *folder = check_folder();
    cloak_target_list list;
    install(folder, two, 1);
    CHECK_OK(cloak_targets_choose("yunet", &list, &error));
    char *said = cloak_target_descriptor(list.items[0].path);
    CHECK_OK(cloak_file_write(said, "{ }", 3, &error)); /* the descriptor counts, too */
    CHECK_INT(cloak_target_check(&list.items[0], &error), CLOAK_E_TRANSIENT);
    CHECK(strstr(error.text, "the album wants"));
    CHECK_INT(unlink(list.items[0].path), 0);
    CHECK_INT(cloak_target_check(&list.items[0], &error), CLOAK_E_TRANSIENT);
    CHECK(strstr(error.text, "lacks"));
    free(said);
    cloak_targets_free(&list);
}
