/* HTTP over libcurl; see the header. */
#include "common/store/s3/web.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "common/base/alloc.h"

enum { CONNECT_SECONDS = 10, STALL_SECONDS = 30, ERROR_BODY = 1 << 20 };

struct cloak_web {
    CURL *curl;
    char *ca_file;
    char why[CURL_ERROR_SIZE];
};

typedef struct {
    CURL *curl;
    cloak_web_answer *answer;
    size_t limit, room;
    bool no_memory;
} Intake;

static void start_library(void) {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0) {
        fprintf(stderr, "cloak: libcurl cannot be started\n");
        abort();
    }
}

cloak_web *cloak_web_new(const char *ca_file) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, start_library);
    cloak_web *web = cloak_alloc(sizeof *web);
    web->curl = curl_easy_init();
    if (!web->curl) {
        fprintf(stderr, "cloak: out of memory\n");
        abort();
    }
    web->ca_file = cloak_strdup(ca_file);
    return web;
}

void cloak_web_free(cloak_web *web) {
    if (!web)
        return;
    curl_easy_cleanup(web->curl);
    free(web->ca_file);
    free(web);
}

/* Room for `more` bytes and a NUL: at once where the length is announced, else by doubling. */
static bool make_room(Intake *in, size_t more) {
    size_t need = in->answer->length + more + 1;
    if (need <= in->room)
        return true;
    curl_off_t announced = -1;
    curl_easy_getinfo(in->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
    size_t room = in->room ? in->room * 2 : 4096;
    if (announced > 0 && (uint64_t)announced > in->limit) {
        in->answer->too_large = true;
        return false;
    }
    if (announced > 0)
        room = (size_t)announced + 1;
    if (room < need)
        room = need;
    char *grown = realloc(in->answer->body, room);
    if (!grown) {
        in->no_memory = true;
        return false;
    }
    in->answer->body = grown;
    in->room = room;
    return true;
}

static size_t take(char *bytes, size_t one, size_t n, void *context) {
    Intake *in = context;
    cloak_web_answer *answer = in->answer;
    n *= one;
    if (answer->length == 0) {
        curl_easy_getinfo(in->curl, CURLINFO_RESPONSE_CODE, &answer->status);
        if (answer->status >= 300)
            in->limit = ERROR_BODY;
    }
    if (n > in->limit - answer->length) {
        answer->too_large = true;
        return 0; /* ends the exchange */
    }
    if (!make_room(in, n))
        return 0;
    memcpy(answer->body + answer->length, bytes, n);
    answer->length += n;
    answer->body[answer->length] = 0;
    return n;
}

/* Called by libcurl while it transfers or waits. */
static int look_up(void *context, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d) {
    const cloak_web_request *request = context;
    (void)a, (void)b, (void)c, (void)d;
    return request->stop(request->stop_context);
}

/* Programs that we start have no business with our connections. */
static int close_on_exec(void *context, curl_socket_t socket, curlsocktype purpose) {
    (void)context, (void)purpose;
    return fcntl(socket, F_SETFD, FD_CLOEXEC) == 0 ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR;
}

static bool only_a_person_helps(CURLcode code) {
    switch (code) {
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CERTPROBLEM:
        return true;
    default:
        return false;
    }
}

static struct curl_slist *make_headers(const cloak_web_request *request) {
    /* an answer that never comes to "Expect: 100-continue" would cost a second each */
    struct curl_slist *list = curl_slist_append(NULL, "Expect:");
    for (size_t i = 0; list && i < request->header_count; i++) {
        struct curl_slist *longer = curl_slist_append(list, request->headers[i]);
        if (!longer)
            curl_slist_free_all(list);
        list = longer;
    }
    if (!list) {
        fprintf(stderr, "cloak: out of memory\n");
        abort();
    }
    return list;
}

static void set_up(cloak_web *web, const cloak_web_request *request, struct curl_slist *headers, Intake *in) {
    CURL *curl = web->curl;
    curl_easy_reset(curl); /* connections stay */
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, web->why);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)(request->seconds * 1000));
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_SECONDS);
    curl_easy_setopt(curl, CURLOPT_SOCKOPTFUNCTION, close_on_exec);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "cloakfleet/" CLOAK_VERSION);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, in);
    if (request->stop) {
        curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, look_up);
        curl_easy_setopt(curl, CURLOPT_XFERINFODATA, request);
    }
    if (request->direct)
        curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    if (web->ca_file)
        curl_easy_setopt(curl, CURLOPT_CAINFO, web->ca_file);
    if (strcmp(request->method, "HEAD") == 0)
        curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
    else if (request->body || strcmp(request->method, "GET") != 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body ? request->body : "");
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_length);
    }
    if (strcmp(request->method, "HEAD") != 0)
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
}

cloak_status cloak_web_send(
    cloak_web *web, const cloak_web_request *request, cloak_web_answer *answer, cloak_error *error) {
    struct curl_slist *headers = make_headers(request);
    Intake in = {.curl = web->curl, .answer = answer, .limit = request->limit};
    *answer = (cloak_web_answer){0};
    web->why[0] = 0;
    set_up(web, request, headers, &in);
    CURLcode code = curl_easy_perform(web->curl);
    curl_easy_getinfo(web->curl, CURLINFO_RESPONSE_CODE, &answer->status);
    curl_easy_setopt(web->curl, CURLOPT_HTTPHEADER, NULL);
    curl_slist_free_all(headers);
    if (code == CURLE_OK)
        return CLOAK_OK;
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return cloak_fail(error, CLOAK_E_INTERRUPTED, "interrupted");
    const char *why = in.no_memory      ? "out of memory"
                      : answer->too_large ? "the answer is too large"
                      : web->why[0]     ? web->why
                                        : curl_easy_strerror(code);
    cloak_fail(error, CLOAK_E_TRANSIENT, "%s%s", why,
        code == CURLE_PEER_FAILED_VERIFICATION ? " (AWS_CA_BUNDLE names a file of certificates to trust)" : "");
    if (error && only_a_person_helps(code))
        error->retryable = false;
    return CLOAK_E_TRANSIENT;
}

bool cloak_web_may_pass(long status) {
    return status == 408 || status == 429 || (status >= 500 && status != 501);
}

const char *cloak_web_header(const cloak_web *web, const char *name) {
    struct curl_header *header = NULL;
    return curl_easy_header(web->curl, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK ? header->value : NULL;
}
