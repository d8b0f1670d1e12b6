/* Where S3 keys come from; see the header.
 *
 * Sources: "Standardized credential providers", AWS SDKs and tools reference guide; "Use IMDSv2",
 * Amazon EC2 user guide; "AssumeRoleWithWebIdentity", AWS STS API reference. */
#include "common/store/s3/credentials.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <openssl/crypto.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/host.h"
#include "common/base/text.h"
#include "common/store/s3/profile.h"
#include "common/store/s3/sigv4.h"
#include "common/store/s3/xml.h"

enum { MARGIN = 300, MAX_ANSWER = 1 << 20, MAX_TOKEN = 64 << 10 };

static void wipe(char *secret) {
    if (secret)
        OPENSSL_cleanse(secret, strlen(secret));
    free(secret);
}

void cloak_s3_credentials_free(cloak_s3_credentials *c) {
    free(c->access_key);
    wipe(c->secret_key);
    wipe(c->token);
    *c = (cloak_s3_credentials){0};
}

static int64_t seconds_now(void) {
    return cloak_clock_system.wall_ms() / 1000;
}

/* One exchange that must end with 200. `what` names the service in errors. */
static cloak_status ask(cloak_web *web, const cloak_web_request *request, const char *what,
    cloak_web_answer *answer, cloak_error *error) {
    cloak_error why;
    cloak_status status = cloak_web_send(web, request, answer, &why);
    if (status != CLOAK_OK) {
        cloak_fail(error, status, "no keys for S3: %s does not answer: %s", what, why.text);
        if (error)
            error->retryable = why.retryable;
    } else if (answer->status != 200) {
        char *said = cloak_s3_xml_text(answer->body, answer->length, "Error", "Message");
        char *message = said ? cloak_text_brief(said) : NULL;
        free(said);
        status = cloak_fail(error, CLOAK_E_TRANSIENT, "no keys for S3: %s answers %ld%s%s", what,
            answer->status, message ? ": " : "", message ? message : "");
        if (error)
            error->retryable = cloak_web_may_pass(answer->status);
        free(message);
    }
    if (status != CLOAK_OK) {
        wipe(answer->body);
        *answer = (cloak_web_answer){0};
    }
    return status;
}

/* --- environment and profile --------------------------------------------------------------- */

static bool from_environment(cloak_s3_credentials *c) {
    const char *access = cloak_s3_environment("AWS_ACCESS_KEY_ID");
    const char *secret = cloak_s3_environment("AWS_SECRET_ACCESS_KEY");
    if (!access && !secret)
        return false;
    c->access_key = cloak_strdup(access);
    c->secret_key = cloak_strdup(secret);
    c->token = cloak_strdup(cloak_s3_environment("AWS_SESSION_TOKEN"));
    return true;
}

static bool from_profile(cloak_s3_credentials *c) {
    c->access_key = cloak_s3_profile_get("aws_access_key_id");
    c->secret_key = cloak_s3_profile_get("aws_secret_access_key");
    c->token = cloak_s3_profile_get("aws_session_token");
    return c->access_key || c->secret_key;
}

/* What a profile may hold instead of keys, and we do not read: `role_arn` also beside keys, which are then only the
 * way to it. */
static cloak_status check_profile(bool keys, cloak_error *error) {
    static const char *const others[] = {"role_arn", "sso_session", "sso_start_url", "credential_process"};
    for (size_t i = 0; i < (keys ? 1 : sizeof others / sizeof *others); i++) {
        char *value = cloak_s3_profile_get(others[i]);
        free(value);
        if (value)
            return cloak_fail(error, CLOAK_E_USAGE,
                "the profile %s gets its keys by %s, which is not in this version: run "
                "`aws configure export-credentials --format env` and put what it prints into the environment",
                cloak_s3_profile_name(), others[i]);
    }
    return CLOAK_OK;
}

/* --- services that lend keys ---------------------------------------------------------------- */

/* From the JSON of a container's agent or of instance metadata. */
static cloak_status take_json(
    const char *text, const char *what, cloak_s3_credentials *c, cloak_error *error) {
    cJSON *object = cJSON_Parse(text ? text : "");
    const char *access = cJSON_GetStringValue(cJSON_GetObjectItem(object, "AccessKeyId"));
    const char *secret = cJSON_GetStringValue(cJSON_GetObjectItem(object, "SecretAccessKey"));
    const char *token = cJSON_GetStringValue(cJSON_GetObjectItem(object, "Token"));
    const char *expires = cJSON_GetStringValue(cJSON_GetObjectItem(object, "Expiration"));
    cloak_status status = CLOAK_OK;
    if (access && secret) {
        c->access_key = cloak_strdup(access);
        c->secret_key = cloak_strdup(secret);
        c->token = cloak_strdup(token);
        c->expires = expires ? cloak_s3_xml_time(expires) / 1000000000 : 0;
    } else {
        status = cloak_fail(error, CLOAK_E_TRANSIENT, "no keys for S3: %s sends none", what);
    }
    cJSON_Delete(object);
    return status;
}

/* The first line of a text, without spaces at its end, as a new string. */
static char *first_line(const char *text) {
    size_t n = strcspn(text, "\r\n");
    while (n && text[n - 1] == ' ')
        n--;
    return cloak_format("%.*s", (int)n, text);
}

/* The token in a file; wipe() it. */
static cloak_status read_token(const char *path, char **token, cloak_error *error) {
    void *bytes = NULL;
    size_t length = 0;
    cloak_status status = cloak_file_read(path, MAX_TOKEN, &bytes, &length, error);
    if (status == CLOAK_OK)
        *token = first_line(bytes);
    wipe(bytes);
    return status;
}

static cloak_status from_web_identity(
    cloak_s3_credentials *c, cloak_web *web, const char *region, cloak_error *error) {
    const char *role = cloak_s3_environment("AWS_ROLE_ARN");
    const char *session = cloak_s3_environment("AWS_ROLE_SESSION_NAME");
    const char *endpoint = cloak_s3_environment("AWS_ENDPOINT_URL_STS");
    char *token = NULL;
    cloak_web_answer answer = {0};
    if (endpoint && strncasecmp(endpoint, "https://", 8) != 0 &&
        (strncasecmp(endpoint, "http://", 7) != 0 || !cloak_host_is_local(endpoint + 7)))
        return cloak_fail(error, CLOAK_E_USAGE,
            "AWS_ENDPOINT_URL_STS must begin with https://: keys would be lent in clear");
    cloak_status status = read_token(cloak_s3_environment("AWS_WEB_IDENTITY_TOKEN_FILE"), &token, error);
    if (status != CLOAK_OK)
        return status;
    char *url = endpoint ? cloak_format("%s/", endpoint) : cloak_format("https://sts.%s.amazonaws.com%s/", region, strncmp(region, "cn-", 3) == 0 ? ".cn" : "");
    char *role_text = cloak_sigv4_encode(role, 0), *token_text = cloak_sigv4_encode(token, 0);
    char *session_text = cloak_sigv4_encode(session ? session : "cloakfleet", 0);
    char *form = cloak_format(
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=%s&RoleSessionName=%s&WebIdentityToken=%s",
        role_text, session_text, token_text);
    const char *headers[] = {"Content-Type: application/x-www-form-urlencoded"};
    const cloak_web_request request = {.method = "POST", .url = url, .headers = headers,
        .header_count = 1, .body = form, .body_length = strlen(form), .limit = MAX_ANSWER, .seconds = 20};
    status = ask(web, &request, "the token service (STS)", &answer, error);
    if (status == CLOAK_OK) {
        char *expires = cloak_s3_xml_text(answer.body, answer.length, "Credentials", "Expiration");
        c->access_key = cloak_s3_xml_text(answer.body, answer.length, "Credentials", "AccessKeyId");
        c->secret_key = cloak_s3_xml_text(answer.body, answer.length, "Credentials", "SecretAccessKey");
        c->token = cloak_s3_xml_text(answer.body, answer.length, "Credentials", "SessionToken");
        c->expires = expires ? cloak_s3_xml_time(expires) / 1000000000 : 0;
        free(expires);
        if (!c->access_key || !c->secret_key)
            status = cloak_fail(error, CLOAK_E_TRANSIENT, "no keys for S3: the token service (STS) sends none");
    }
    wipe(answer.body);
    wipe(form);
    wipe(token_text);
    wipe(token);
    free(session_text);
    free(role_text);
    free(url);
    return status;
}

/* A container's agent may be asked without TLS only where it is on this machine. */
static bool is_agent_address(const char *url) {
    static const char *const places[] = {"169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    if (strncasecmp(url, "https://", 8) == 0)
        return true;
    if (strncasecmp(url, "http://", 7) != 0)
        return false;
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t n = strlen(places[i]);
        if (strncmp(url + 7, places[i], n) == 0 && (url[7 + n] == '/' || url[7 + n] == ':'))
            return strchr(url, '@') == NULL;
    }
    return cloak_host_is_local(url + 7);
}

static cloak_status from_container(cloak_s3_credentials *c, cloak_web *web, cloak_error *error) {
    const char *relative = cloak_s3_environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = cloak_s3_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    const char *given = cloak_s3_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    const char *token_file = cloak_s3_environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    char *url = relative ? cloak_format("http://169.254.170.2%s", relative) : cloak_strdup(full), *token = NULL;
    cloak_web_answer answer = {0};
    cloak_status status = CLOAK_OK;
    if (!is_agent_address(url))
        status = cloak_fail(error, CLOAK_E_USAGE,
            "AWS_CONTAINER_CREDENTIALS_FULL_URI: keys are asked for over https, or on this machine");
    else if (token_file)
        status = read_token(token_file, &token, error);
    else if (given)
        token = first_line(given);
    if (status == CLOAK_OK) {
        char *header = cloak_format("Authorization: %s", token ? token : "");
        const char *headers[] = {header};
        const cloak_web_request request = {.method = "GET", .url = url, .headers = headers,
            .header_count = token ? 1 : 0, .limit = MAX_ANSWER, .seconds = 5, .direct = true};
        status = ask(web, &request, "the container's agent", &answer, error);
        wipe(header);
    }
    if (status == CLOAK_OK)
        status = take_json(answer.body, "the container's agent", c, error);
    wipe(answer.body);
    wipe(token);
    free(url);
    return status;
}

static cloak_status from_machine(cloak_s3_credentials *c, cloak_web *web, cloak_error *error) {
    static const char what[] = "instance metadata";
    const char *endpoint = cloak_s3_environment("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    cloak_web_answer answer = {0};
    char *base = cloak_format("%s/latest", endpoint ? endpoint : "http://169.254.169.254");
    char *url = cloak_format("%s/api/token", base), *header = NULL, *role = NULL;
    const char *headers[] = {"X-aws-ec2-metadata-token-ttl-seconds: 300"};
    cloak_web_request request = {.method = "PUT", .url = url, .headers = headers, .header_count = 1,
        .limit = MAX_ANSWER, .seconds = 2, .direct = true};
    cloak_status status = ask(web, &request, what, &answer, error);
    if (status == CLOAK_OK) {
        header = cloak_format("X-aws-ec2-metadata-token: %s", answer.body ? answer.body : "");
        headers[0] = header;
        wipe(answer.body);
        free(url);
        url = cloak_format("%s/meta-data/iam/security-credentials/", base);
        request.method = "GET";
        request.url = url;
        status = ask(web, &request, what, &answer, error);
    }
    if (status == CLOAK_OK) {
        role = first_line(answer.body ? answer.body : "");
        free(answer.body);
        free(url);
        url = cloak_format("%s/meta-data/iam/security-credentials/%s", base, role);
        request.url = url;
        status = ask(web, &request, what, &answer, error);
    }
    if (status == CLOAK_OK)
        status = take_json(answer.body, what, c, error);
    wipe(answer.body);
    wipe(header);
    free(role);
    free(url);
    free(base);
    return status;
}

static cloak_status load(cloak_s3_credentials *c, cloak_web *web, const char *region, cloak_error *error) {
    const char *off = cloak_s3_environment("AWS_EC2_METADATA_DISABLED");
    cloak_status status = CLOAK_OK;
    if (from_environment(c))
        return CLOAK_OK;
    if (cloak_s3_environment("AWS_ROLE_ARN") && cloak_s3_environment("AWS_WEB_IDENTITY_TOKEN_FILE"))
        return from_web_identity(c, web, region, error);
    bool keys = from_profile(c);
    status = check_profile(keys, error);
    if (status != CLOAK_OK || keys)
        return status;
    if (cloak_s3_environment("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") ||
        cloak_s3_environment("AWS_CONTAINER_CREDENTIALS_FULL_URI"))
        return from_container(c, web, error);
    cloak_error why = {0};
    const bool asked = !(off && strcasecmp(off, "true") == 0);
    if (asked && from_machine(c, web, &why) == CLOAK_OK)
        return CLOAK_OK;
    cloak_fail(error, asked ? CLOAK_E_TRANSIENT : CLOAK_E_USAGE,
        "no keys for S3: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write them into the profile %s in "
        "~/.aws/credentials%s%s%s",
        cloak_s3_profile_name(), asked ? " (" : "", why.text, asked ? ")" : "");
    error->retryable = false; /* not in a moment: most machines have no metadata at all */
    return error->code;
}

cloak_status cloak_s3_credentials_fresh(
    cloak_s3_credentials *c, cloak_web *web, const char *region, bool renew, cloak_error *error) {
    int64_t now = seconds_now();
    cloak_s3_credentials loaded = {0};
    if (c->access_key && !renew && (c->expires == 0 || c->expires - MARGIN > now))
        return CLOAK_OK;
    cloak_status status = load(&loaded, web, region, error);
    if (status == CLOAK_OK && (!loaded.access_key || !loaded.secret_key))
        status = cloak_fail(error, CLOAK_E_USAGE,
            "half of the keys for S3 is missing: the %s is set, the %s is not",
            loaded.access_key ? "access key id" : "secret key", loaded.access_key ? "secret key" : "access key id");
    if (status == CLOAK_E_PERMANENT) /* a file of a token */
        status = cloak_error_spare_photo(error);
    if (status != CLOAK_OK) {
        cloak_s3_credentials_free(&loaded);
        return c->access_key && !renew && c->expires > now ? CLOAK_OK : status;
    }
    cloak_s3_credentials_free(c);
    *c = loaded;
    return CLOAK_OK;
}
