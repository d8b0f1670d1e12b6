/* A walk over small XML documents (expat); see the header. */
#include "common/store/s3/xml.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <expat.h>

#include "common/base/alloc.h"

enum { MAX_DEPTH = 16, MAX_TEXT = 64 << 10 };

typedef struct {
    XML_Parser parser;
    cloak_s3_xml_visit visit;
    void *context;
    char *names[MAX_DEPTH];
    int depth;
    char *text;
    size_t length, room;
    bool stopped; /* expat may call once more after it was stopped */
} Walk;

static void stop(Walk *walk) {
    walk->stopped = true;
    XML_StopParser(walk->parser, XML_FALSE);
}

static void begin(void *data, const XML_Char *name, const XML_Char **attributes) {
    Walk *walk = data;
    (void)attributes;
    if (walk->depth == MAX_DEPTH)
        stop(walk);
    if (walk->stopped)
        return;
    walk->names[walk->depth++] = cloak_strdup(name);
    walk->length = 0;
}

static void characters(void *data, const XML_Char *text, int count) {
    Walk *walk = data;
    size_t n = (size_t)count;
    if (walk->length + n > MAX_TEXT)
        stop(walk);
    if (walk->stopped)
        return;
    if (walk->length + n + 1 > walk->room) {
        walk->room = (walk->length + n + 1) * 2;
        walk->text = cloak_realloc(walk->text, walk->room);
    }
    memcpy(walk->text + walk->length, text, n);
    walk->length += n;
}

static void end(void *data, const XML_Char *name) {
    Walk *walk = data;
    if (walk->stopped)
        return;
    const char *parent = walk->depth > 1 ? walk->names[walk->depth - 2] : "";
    if (walk->length)
        walk->text[walk->length] = 0;
    if (!walk->visit(walk->context, parent, name, walk->length ? walk->text : ""))
        stop(walk);
    free(walk->names[--walk->depth]);
    walk->length = 0;
}

bool cloak_s3_xml_walk(const char *xml, size_t length, cloak_s3_xml_visit visit, void *context) {
    while (length && strchr(" \t\r\n", *xml) && *xml)
        xml++, length--;
    Walk walk = {.parser = XML_ParserCreate(NULL), .visit = visit, .context = context};
    if (!walk.parser || length > INT_MAX) {
        if (walk.parser)
            XML_ParserFree(walk.parser);
        return false;
    }
    XML_SetUserData(walk.parser, &walk);
    XML_SetElementHandler(walk.parser, begin, end);
    XML_SetCharacterDataHandler(walk.parser, characters);
    bool fine = XML_Parse(walk.parser, xml, (int)length, 1) == XML_STATUS_OK && !walk.stopped;
    XML_ParserFree(walk.parser);
    while (walk.depth)
        free(walk.names[--walk.depth]);
    free(walk.text);
    return fine;
}

typedef struct {
    const char *parent, *name;
    char *found;
} Search;

static bool look(void *context, const char *parent, const char *name, const char *text) {
    Search *search = context;
    if (strcmp(name, search->name) != 0 || (search->parent && strcmp(parent, search->parent) != 0))
        return true;
    search->found = cloak_strdup(text);
    return false;
}

char *cloak_s3_xml_text(const char *xml, size_t length, const char *parent, const char *name) {
    Search search = {parent, name, NULL};
    if (xml)
        (void)cloak_s3_xml_walk(xml, length, look, &search);
    return search.found;
}

static int digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

bool cloak_s3_xml_unquote(char *text) {
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '%') {
            *to++ = *from == '+' ? ' ' : *from;
            continue;
        }
        int high = digit(from[1]), low = high < 0 ? -1 : digit(from[2]);
        if (low < 0 || high * 16 + low == 0)
            return false;
        *to++ = (char)(high * 16 + low);
        from += 2;
    }
    *to = 0;
    return true;
}

int64_t cloak_s3_xml_time(const char *text) {
    struct tm parts = {0};
    const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &parts);
    if (!rest || parts.tm_year < 70 || parts.tm_year > 300) /* what nanoseconds can count */
        return 0;
    int64_t ns = 0;
    if (*rest == '.')
        for (int64_t unit = 100000000; unit && rest[1] >= '0' && rest[1] <= '9'; unit /= 10)
            ns += (*++rest - '0') * unit;
    return (int64_t)timegm(&parts) * 1000000000 + ns;
}
