/* Event streams; see the header. The format is that of server-sent events (WHATWG HTML, section 9.2).
 *
 * DESIGN. What is published is the state of something, so only the newest matters: of each kind of event a stream keeps
 * the one that it is sending and at most one to come, which a newer one replaces. A slow listener thus misses states
 * and costs no more memory than a fast one; and the text is shared by all. A listener with nothing to read is suspended
 * (its connection costs the server's thread nothing) and resumed by the next event.
 */
#include "common/http/stream.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/alloc.h"

enum { KINDS = 4, MOST = 32 };

typedef struct {
    int holders;
    size_t length;
    char *text;
} Message;

typedef struct Stream {
    cloak_streams *all;
    struct MHD_Connection *connection;
    struct Stream *next;
    bool suspended;
    Message *current, *pending[KINDS];
    size_t at; /* in `current` */
    int turn;  /* the kind that is next, so that each has its turn with a slow listener */
} Stream;

struct cloak_streams {
    pthread_mutex_t lock; /* guards all that follows, and the streams */
    char *kinds[KINDS];   /* names of events, by the order in which they came up */
    Message *latest[KINDS];
    Stream *first;
    size_t count;
    bool closing;
};

static void let_go(Message *message) {
    if (message && --message->holders == 0) {
        free(message->text);
        free(message);
    }
}

static void replace(Message **place, Message *message) {
    if (message)
        message->holders++;
    let_go(*place);
    *place = message;
}

cloak_streams *cloak_streams_new(void) {
    cloak_streams *streams = cloak_alloc(sizeof *streams);
    pthread_mutex_init(&streams->lock, NULL);
    return streams;
}

static void forget_latest(cloak_streams *streams) {
    for (int i = 0; i < KINDS; i++)
        replace(&streams->latest[i], NULL);
}

void cloak_streams_free(cloak_streams *streams) {
    if (!streams)
        return;
    forget_latest(streams);
    for (int i = 0; i < KINDS; i++)
        free(streams->kinds[i]);
    pthread_mutex_destroy(&streams->lock);
    free(streams);
}

/* Takes the next message in hand, if there is one. The lock is held. */
static bool advance(Stream *stream) {
    for (int i = 0; i < KINDS && !stream->current; i++) {
        stream->current = stream->pending[stream->turn];
        stream->pending[stream->turn] = NULL;
        stream->turn = (stream->turn + 1) % KINDS;
        stream->at = 0;
    }
    return stream->current;
}

/* libmicrohttpd wants up to `most` bytes of the stream's body. */
static ssize_t read_stream(void *context, uint64_t position, char *to, size_t most) {
    Stream *stream = context;
    cloak_streams *streams = stream->all;
    ssize_t got = 0;
    (void)position;
    pthread_mutex_lock(&streams->lock);
    if (streams->closing) {
        got = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (advance(stream)) {
        const size_t left = stream->current->length - stream->at, n = left < most ? left : most;
        memcpy(to, stream->current->text + stream->at, n);
        stream->at += n;
        if (stream->at == stream->current->length)
            replace(&stream->current, NULL);
        got = (ssize_t)n;
    } else {
        stream->suspended = true;
        MHD_suspend_connection(stream->connection);
    }
    pthread_mutex_unlock(&streams->lock);
    return got;
}

/* The listener has gone. */
static void end_stream(void *context) {
    Stream *stream = context;
    cloak_streams *streams = stream->all;
    pthread_mutex_lock(&streams->lock);
    for (Stream **at = &streams->first; *at; at = &(*at)->next)
        if (*at == stream) {
            *at = stream->next;
            streams->count--;
            break;
        }
    replace(&stream->current, NULL);
    for (int i = 0; i < KINDS; i++)
        replace(&stream->pending[i], NULL);
    if (!streams->first)
        forget_latest(streams); /* who comes next must not see what was long ago */
    pthread_mutex_unlock(&streams->lock);
    free(stream);
}

struct MHD_Response *cloak_streams_open(cloak_streams *streams, struct MHD_Connection *connection) {
    Stream *stream = cloak_alloc(sizeof *stream);
    stream->all = streams;
    stream->connection = connection;
    pthread_mutex_lock(&streams->lock);
    const bool room = !streams->closing && streams->count < MOST;
    if (room) {
        for (int i = 0; i < KINDS; i++)
            replace(&stream->pending[i], streams->latest[i]);
        stream->next = streams->first;
        streams->first = stream;
        streams->count++;
    }
    pthread_mutex_unlock(&streams->lock);
    if (!room) {
        free(stream);
        return NULL;
    }
    struct MHD_Response *response =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, stream, end_stream);
    if (!response)
        end_stream(stream);
    return response;
}

/* Which of the kinds `event` is; KINDS when there are too many. The lock is held. */
static int kind_of(cloak_streams *streams, const char *event) {
    int i = 0;
    while (i < KINDS && streams->kinds[i] && strcmp(streams->kinds[i], event) != 0)
        i++;
    if (i < KINDS && !streams->kinds[i])
        streams->kinds[i] = cloak_strdup(event);
    return i;
}

/* Wakes those that had nothing to read. The lock is held. */
static void resume_all(cloak_streams *streams) {
    for (Stream *stream = streams->first; stream; stream = stream->next)
        if (stream->suspended) {
            stream->suspended = false;
            MHD_resume_connection(stream->connection);
        }
}

void cloak_streams_publish(cloak_streams *streams, const char *event, const char *data) {
    Message *message = cloak_alloc(sizeof *message);
    *message = (Message){.text = cloak_format("event: %s\ndata: %s\n\n", event, data), .holders = 1};
    message->length = strlen(message->text);
    pthread_mutex_lock(&streams->lock);
    const int kind = kind_of(streams, event);
    if (kind < KINDS && streams->first) {
        replace(&streams->latest[kind], message);
        for (Stream *stream = streams->first; stream; stream = stream->next)
            replace(&stream->pending[kind], message);
        resume_all(streams);
    }
    let_go(message);
    pthread_mutex_unlock(&streams->lock);
}

size_t cloak_streams_count(cloak_streams *streams) {
    pthread_mutex_lock(&streams->lock);
    const size_t count = streams->count;
    pthread_mutex_unlock(&streams->lock);
    return count;
}

void cloak_streams_close(cloak_streams *streams) {
    pthread_mutex_lock(&streams->lock);
    streams->closing = true;
    resume_all(streams);
    pthread_mutex_unlock(&streams->lock);
}
