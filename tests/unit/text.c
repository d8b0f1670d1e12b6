/* Names as bytes: what is encoded comes back, and is one line of valid UTF-8 in between. */
#include "common/base/text.h"

#include "common/base/alloc.h"
#include "tests/check.h"

static void check_encoded(const char *raw, const char *want) {
    char *text = cloak_text_encode(raw), *back = cloak_text_decode(text);
    CHECK_TEXT(text, want);
    CHECK_TEXT(back, raw);
    free(text);
    free(back);
}

TEST(encoding_keeps_what_is_readable) {
    check_encoded("", "");
    check_encoded("plain name.jpg", "plain name.jpg");
    check_encoded("Grüße/\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80.jpg",
        "Grüße/\xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80.jpg");
    check_encoded("100%.jpg", "100%25.jpg");
    check_encoded("a\nb\tc\x7f", "a%0Ab%09c%7F");
    check_encoded("esc\x1b[31m", "esc%1B[31m");
    check_encoded("c1 \xc2\x9b"
                  "31m \xc2\xa0",
        "c1 %C2%9B31m \xc2\xa0");
}

TEST(encoding_escapes_what_is_no_utf8) {
    check_encoded("\xff", "%FF");
    check_encoded("caf\xe9.jpg", "caf%E9.jpg");          /* Latin-1 */
    check_encoded("\xc0\xaf \xc1\x81", "%C0%AF %C1%81"); /* overlong */
    check_encoded("\xe0\x9f\xbf", "%E0%9F%BF");          /* overlong, three bytes */
    check_encoded("\xed\xa0\x80", "%ED%A0%80");          /* a surrogate */
    check_encoded("\xf4\x90\x80\x80", "%F4%90%80%80");   /* beyond U+10FFFF */
    check_encoded("\xf0\x8f\xbf\xbf", "%F0%8F%BF%BF");   /* overlong, four bytes */
    check_encoded("\xf5\x80\x80\x80", "%F5%80%80%80");
    check_encoded("cut \xe6\x97", "cut %E6%97"); /* ends in the middle */
    check_encoded("\x80\xbf", "%80%BF");
}

TEST(every_pair_of_bytes_comes_back) {
    for (int a = 1; a < 256; a++)
        for (int b = 1; b < 256; b++) {
            char raw[] = {(char)a, (char)b, (char)a, 0};
            char *text = cloak_text_encode(raw), *back = cloak_text_decode(text);
            CHECK_TEXT(back, raw);
            for (const unsigned char *s = (unsigned char *)text; *s;) {
                int n = cloak_text_utf8_length(s);
                CHECK(n > 0 && *s >= 0x20 && *s != 0x7f);
                s += n;
            }
            free(text);
            free(back);
        }
}

TEST(bad_escapes_are_refused) {
    static const char *const bad[] = {"%", "%4", "%G0", "%0g", "a%00b", "%%41", "x%-1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(cloak_text_decode(bad[i]) == NULL);
    char *text = cloak_text_decode("%e9%E9+");
    CHECK_TEXT(text, "\xe9\xe9+");
    free(text);
}

TEST(long_names_are_cut_for_errors) {
    char raw[600];
    char *text = cloak_text_brief("short\n.jpg");
    CHECK_TEXT(text, "short%0A.jpg");
    free(text);
    for (int shift = 0; shift < 3; shift++) { /* every way a character can lie across the cut */
        memset(raw, 'x', sizeof raw);
        for (int i = shift; i + 3 < 590; i += 3)
            memcpy(raw + i, "\xe6\x97\xa5", 3);
        memcpy(raw + 590, "end.jpg", 8);
        text = cloak_text_brief(raw);
        CHECK(strlen(text) <= 320 && strlen(text) > 310);
        CHECK(strncmp(text, "...", 3) == 0);
        CHECK_TEXT(text + strlen(text) - 7, "end.jpg");
        for (const unsigned char *s = (unsigned char *)text; *s;) {
            CHECK(cloak_text_utf8_length(s) > 0);
            s += cloak_text_utf8_length(s);
        }
        free(text);
    }
}

TEST(json_text_is_escaped_and_cut_whole) {
    char out[64];
    cloak_text_json("a\"b\\c\n\x01 \xff ü", out, sizeof out);
    CHECK_TEXT(out, "a\\\"b\\\\c\\u000a\\u0001 ? ü");
    char small[8];
    cloak_text_json("abcdef\n", small, sizeof small); /* "\u000a" does not fit: all or nothing */
    CHECK_TEXT(small, "abcdef");
    cloak_text_json("abcdefü", small, sizeof small);
    CHECK_TEXT(small, "abcdef");
    cloak_text_json("abcdefgh", small, sizeof small);
    CHECK_TEXT(small, "abcdefg");
    small[0] = 'k';
    cloak_text_json("x", small, 0);
    CHECK_INT(small[0], 'k');
}
