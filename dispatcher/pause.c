/* cloak pause and cloak resume: photos wait, and go on. */
#include <stdio.h>

#include "dispatcher/target.h"
#include "dispatcher/verbs.h"

typedef cloak_status Change(cloak_queue *queue, const char *what, cloak_error *error);

/* Changes the whole queue, where `what` is NULL, or a tenant. */
static cloak_status change_queue(
    const cloak_queue_options *o, Change *change, const char *what, cloak_error *error) {
    cloak_queue *queue;
    cloak_status status = cloak_queue_open(o->redis, o->queue, 10, &queue, error);
    if (status != CLOAK_OK)
        return status;
    status = change(queue, what, error);
    cloak_queue_close(queue);
    return status;
}

static cloak_status change_album(const char *argument, const cloak_queue_options *o,
    Change *change, char id[CLOAK_ALBUM_ID_SIZE], cloak_error *error) {
    cloak_album_target target;
    cloak_status status = cloak_album_target_open(argument, o, &target, error);
    if (status != CLOAK_OK)
        return status;
    status = change(target.queue, target.id, error);
    snprintf(id, CLOAK_ALBUM_ID_SIZE, "%s", target.id);
    cloak_album_target_close(&target);
    return status;
}

static int run(const char *verb, const char *usage, const char *about, Change *change, Change *change_tenant, int argc,
    char **argv) {
    cloak_queue_options o = CLOAK_QUEUE_OPTIONS_DEFAULT;
    const char *tenant = NULL;
    bool all = false;
    const cloak_option table[] = {CLOAK_QUEUE_OPTIONS(o),
        {"all", NULL, NULL, CLOAK_OPTION_FLAG, &all, 0, 0, "the whole queue instead of an album"},
        {"tenant", "NAME", NULL, CLOAK_OPTION_TEXT, &tenant, 0, 0, "all of a tenant's albums, those to come too"},
        {0}};
    cloak_error error = {0};
    char id[CLOAK_ALBUM_ID_SIZE] = "";
    int code = 0, count = 0;
    if (!cloak_verb_parse_some(usage, about, table, argc, argv, 0, 1, &count, &code))
        return code;
    cloak_status status;
    if (all + count + (tenant != NULL) != 1)
        status = cloak_fail(
            &error, CLOAK_E_USAGE, "name an album, or give --tenant NAME, or --all for the whole queue");
    else if (tenant)
        status = change_queue(&o, change_tenant, tenant, &error);
    else if (all)
        status = change_queue(&o, change, NULL, &error);
    else
        status = change_album(argv[0], &o, change, id, &error);
    if (status != CLOAK_OK)
        return cloak_verb_fail(verb, &error);
    if (o.json && all)
        printf("{\"queue\":\"%s\"}\n", o.queue);
    else if (o.json && tenant)
        printf("{\"tenant\":\"%s\"}\n", tenant);
    else if (o.json)
        printf("{\"album\":\"%s\"}\n", id);
    return CLOAK_EXIT_OK;
}

int cloak_verb_pause(int argc, char **argv) {
    return run("pause", "pause ALBUM-ID | OUT | --tenant NAME | --all [OPTIONS]",
        "Lets an album's photos, or all, wait until `cloak resume`. Photos in a worker's hands are\n"
        "still finished.",
        cloak_queue_pause, cloak_queue_pause_tenant, argc, argv);
}

int cloak_verb_resume(int argc, char **argv) {
    return run("resume", "resume ALBUM-ID | OUT | --tenant NAME | --all [OPTIONS]",
        "Lets what was paused go on. An album that was paused by itself stays so when --all goes on.",
        cloak_queue_resume, cloak_queue_resume_tenant, argc, argv);
}
