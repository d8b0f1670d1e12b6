/* Event streams of an HTTP server: who listens, and what is yet to be sent to whom. Of http.c; nobody else includes
 * it. */
#ifndef CLOAK_HTTP_STREAM_H
#define CLOAK_HTTP_STREAM_H

#include <microhttpd.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct cloak_streams cloak_streams;

cloak_streams *cloak_streams_new(void);
void cloak_streams_free(cloak_streams *streams); /* after the daemon has stopped; NULL is fine */

/* A response that is a new listener's stream, or NULL when there are as many as there may be. */
struct MHD_Response *cloak_streams_open(cloak_streams *streams, struct MHD_Connection *connection);

/* See cloak_http_publish and cloak_http_listeners. */
void cloak_streams_publish(cloak_streams *streams, const char *event, const char *data);
size_t cloak_streams_count(cloak_streams *streams);

/* Ends all of them and lets no more in, so that the daemon can stop. */
void cloak_streams_close(cloak_streams *streams);

#endif
