/* Source, destination and the state beside it; see the header. */
#include "dispatcher/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/alloc.h"
#include "common/base/file.h"
#include "common/report/record.h"
#include "dispatcher/state.h"

static cloak_status check_source(const char *folder, cloak_error *error) {
    struct stat info;
    if (stat(folder, &info) != 0)
        return cloak_fail(error, CLOAK_E_USAGE, "there is no album at %s", folder);
    if (!S_ISDIR(info.st_mode))
        return cloak_fail(error, CLOAK_E_USAGE, "%s is a file: name the folder it is in", folder);
    return CLOAK_OK;
}

static cloak_status check_against(const char *source, const char *destination, cloak_error *error) {
    if (strcmp(source, destination) == 0)
        return cloak_fail(error, CLOAK_E_USAGE,
            "album and output are the same folder %s: the originals would be overwritten", source);
    if (cloak_path_inside(source, destination))
        return cloak_fail(error, CLOAK_E_USAGE,
            "the album %s lies inside the output folder %s: choose another output folder", source,
            destination);
    return CLOAK_OK;
}

static cloak_status check_destination(const char *destination, cloak_error *error) {
    struct stat info;
    return stat(destination, &info) == 0 && !S_ISDIR(info.st_mode)
               ? cloak_fail(error, CLOAK_E_USAGE,
                     "the output %s is a file: name a folder, it is created if need be", destination)
               : CLOAK_OK;
}

/* Creates the output folder, so that one that cannot be written is noticed before any work. */
static cloak_status make_writable(const char *destination, cloak_error *error) {
    cloak_status status = cloak_file_mkdirs(destination, error);
    if (status == CLOAK_OK && access(destination, W_OK | X_OK) != 0)
        status = cloak_fail(error, CLOAK_E_USAGE, "cannot write into %s: %s", destination,
            strerror(errno));
    return status;
}

static void leave_out(cloak_place *place, const char *source, const char *path) {
    if (cloak_path_inside(path, source))
        place->leave_out[place->leave_out_count++] = cloak_strdup(path + strlen(source) + 1);
}

cloak_status cloak_place_look(
    const char *source, const char *destination, bool follow_links, cloak_place *place, cloak_error *error) {
    *place = (cloak_place){0};
    cloak_status status = cloak_store_open(source, &place->source, error);
    if (status == CLOAK_OK)
        status = cloak_store_open(destination, &place->destination, error);
    if (status != CLOAK_OK) {
        cloak_place_close(place);
        return status;
    }
    const char *from = cloak_store_place(place->source), *to = cloak_store_place(place->destination);
    follow_links = follow_links || cloak_store_follows(place->source);
    if (cloak_store_follows(place->destination))
        status = cloak_fail(error, CLOAK_E_USAGE, "nothing is written through links: name the output %s as it is", to);
    else if (follow_links)
        status = cloak_store_follow_links(place->source, cloak_store_is_folder(place->destination) ? to : NULL, error);
    place->source_url = cloak_strdup(follow_links ? cloak_store_address(place->source) : from);
    place->destination_url = cloak_strdup(to);
    if (status == CLOAK_OK && cloak_store_is_folder(place->source))
        status = check_source(from, error);
    if (status == CLOAK_OK)
        status = check_against(from, place->destination_url, error);
    if (status == CLOAK_OK && cloak_store_is_folder(place->destination))
        status = check_destination(place->destination_url, error);
    if (status != CLOAK_OK) {
        cloak_place_close(place);
        return status;
    }
    place->state = cloak_state_folder(place->destination);
    place->manifest = cloak_path_join(place->state, "manifest");
    char *beside = cloak_state_beside(place->destination);
    leave_out(place, from, place->destination_url);
    leave_out(place, from, beside);
    if (strcmp(beside, place->state) != 0)
        leave_out(place, from, place->state);
    free(beside);
    return CLOAK_OK;
}

cloak_status cloak_place_open(
    const char *source, const char *destination, bool follow_links, cloak_place *place, cloak_error *error) {
    cloak_status status = cloak_place_look(source, destination, follow_links, place, error);
    if (status == CLOAK_OK && cloak_store_is_folder(place->destination))
        status = make_writable(place->destination_url, error);
    if (status != CLOAK_OK)
        cloak_place_close(place);
    return status;
}

/* Whether a key is a photo of the album, or its receipt. */
static bool is_of_album(void *context, const char *key) {
    const size_t ending = cloak_receipt_is_key(key) ? sizeof CLOAK_RECEIPT_ENDING - 1 : 0;
    char *photo = cloak_format("%.*s", (int)(strlen(key) - ending), key);
    bool known = cloak_manifest_find(context, photo) != NULL;
    free(photo);
    return known;
}

static bool is_manifest(void *context, const char *key) {
    (void)context;
    return strcmp(key, "manifest") == 0;
}

void cloak_place_sweep(cloak_place *place, const cloak_manifest *manifest, double seconds) {
    cloak_error error;
    cloak_store *beside = NULL;
    cloak_status status =
        cloak_store_sweep(place->destination, seconds, is_of_album, (void *)manifest, &error);
    if (status == CLOAK_OK && !cloak_store_is_folder(place->destination)) {
        char *name = cloak_state_beside(place->destination);
        status = cloak_store_open(name, &beside, &error);
        if (status == CLOAK_OK) {
            cloak_store_share_stop(beside, place->destination);
            status = cloak_store_sweep(beside, seconds, is_manifest, NULL, &error);
        }
        cloak_store_close(beside);
        free(name);
    }
    if (status != CLOAK_OK && status != CLOAK_E_INTERRUPTED)
        fprintf(stderr, "  what earlier workers left unfinished could not be removed: %s\n", error.text);
}

void cloak_place_close(cloak_place *place) {
    cloak_store_close(place->source);
    cloak_store_close(place->destination);
    free(place->source_url);
    free(place->destination_url);
    free(place->state);
    free(place->manifest);
    for (size_t i = 0; i < place->leave_out_count; i++)
        free(place->leave_out[i]);
    *place = (cloak_place){0};
}
