/* A queue in a Redis Cluster: every node leads to the one that holds it, also when it moves or is away for a while. */
#include <stdlib.h>
#include <unistd.h>
#include <uuid/uuid.h>

#include "common/base/alloc.h"
#include "common/base/clock.h"
#include "common/queue/internal.h"
#include "tests/check.h"
#include "tests/server.h"

enum { NODES = 2, SLOTS = 16384 };

static cloak_error error;

/* One command to a server itself; false for an error reply. */
static bool tell(const server *s, int argc, const char **argv, char *text, size_t size) {
    redisContext *c = redisConnect("127.0.0.1", server_port(s));
    CHECK(c && !c->err);
    redisReply *reply = redisCommandArgv(c, argc, argv, NULL);
    CHECK(reply);
    const bool fine = reply->type != REDIS_REPLY_ERROR;
    if (text)
        snprintf(text, size, "%s", reply->str ? reply->str : "");
    freeReplyObject(reply);
    redisFree(c);
    return fine;
}

/* Waits until what `command` answers holds both texts. */
static void wait_until_says(const server *s, const char *command, const char *of, const char *this, const char *that) {
    char info[4096] = "";
    for (const double end = cloak_now() + 30; cloak_now() < end; usleep(50000))
        if (tell(s, 2, (const char *[]){command, of}, info, sizeof info) && strstr(info, this) && strstr(info, that))
            return;
    check_failed(__FILE__, __LINE__, "%s %s does not say %s and %s: %s", command, of, this, that, info);
}

static void wait_until_whole(const server *s) {
    wait_until_says(s, "CLUSTER", "INFO", "cluster_state:ok", "cluster_known_nodes:2");
}

/* A node that nobody knows yet; NULL without redis-server. */
static server *start_node(char bus[8]) {
    snprintf(bus, 8, "%d", server_free_port());
    return server_start(&(server_setup){
        .tcp = true, .every_write = true, .options = {"--cluster-enabled", "yes", "--cluster-port", bus}});
}

static void meet(const server *s, const server *other, const char *bus) {
    char port[8];
    snprintf(port, sizeof port, "%d", server_port(other));
    CHECK(tell(s, 5, (const char *[]){"CLUSTER", "MEET", "127.0.0.1", port, bus}, NULL, 0));
}

/* Two primaries with half of the slots each; false without redis-server. */
static bool start_cluster(server *nodes[NODES]) {
    char bus[NODES][8];
    for (int i = 0; i < NODES; i++) {
        nodes[i] = start_node(bus[i]);
        if (!nodes[i])
            return false;
        char first[12], last[12];
        snprintf(first, sizeof first, "%d", i * SLOTS / NODES);
        snprintf(last, sizeof last, "%d", (i + 1) * SLOTS / NODES - 1);
        CHECK(tell(nodes[i], 4, (const char *[]){"CLUSTER", "ADDSLOTSRANGE", first, last}, NULL, 0));
    }
    meet(nodes[0], nodes[1], bus[1]);
    for (int i = 0; i < NODES; i++)
        wait_until_whole(nodes[i]);
    return true;
}

/* An album of one photo, submitted through `url`; `id` has room for it. */
static cloak_queue *submit(const char *url, const char *name, char *id) {
    cloak_queue *queue = NULL;
    uuid_t uuid;
    uuid_generate(uuid);
    uuid_unparse_lower(uuid, id);
    const cloak_album_spec spec = {id, "t", "bulk", "/src", "/dst", "{}", NULL};
    const cloak_job_spec photo = {0, 100, "a.jpg"};
    size_t count;
    uint64_t backlog;
    CHECK_OK(cloak_queue_open(url, name, 5, &queue, &error));
    CHECK_OK(cloak_queue_create(queue, &spec, &error));
    CHECK_OK(cloak_queue_submit(queue, id, &photo, 1, &count, &backlog, &error));
    CHECK_INT(count, 1);
    return queue;
}

static void claim_and_finish(cloak_queue *queue, const char *id) {
    cloak_job *jobs;
    size_t count;
    cloak_books books;
    CHECK_OK(cloak_queue_claim(queue, "w", 8, 1000, 30, &jobs, &count, &error));
    CHECK_INT(count, 1);
    CHECK_OK(cloak_queue_finish(queue, &jobs[0], NULL, 0, NULL, &error));
    cloak_jobs_free(jobs, count);
    CHECK_OK(cloak_queue_books(queue, id, &books, &error));
    CHECK(books.done == 1 && books.balanced);
}

TEST(every_node_leads_to_the_queue) {
    server *nodes[NODES];
    if (!start_cluster(nodes))
        return;
    int held[NODES] = {0};
    for (int i = 0; i < 8; i++) {
        char name[24], id[CLOAK_ALBUM_ID_SIZE], *key;
        snprintf(name, sizeof name, "queue%d", i);
        cloak_queue *queue = submit(server_url(nodes[i % NODES]), name, id);
        claim_and_finish(queue, id);
        cloak_queue_close(queue);
        key = cloak_format("cloak:{%s}:album:%s", name, id);
        for (int k = 0; k < NODES; k++)
            held[k] += tell(nodes[k], 2, (const char *[]){"EXISTS", key}, NULL, 0); /* the other says MOVED */
        free(key);
    }
    CHECK_INT(held[0] + held[1], 8);
    CHECK(held[0] > 0 && held[1] > 0);
    for (int k = 0; k < NODES; k++)
        server_stop(nodes[k]);
}

/* The node that holds a queue is killed and comes back; then its slot goes to the other one. */
TEST(a_node_that_goes_and_a_slot_that_moves) {
    server *nodes[NODES];
    if (!start_cluster(nodes))
        return;
    char id[CLOAK_ALBUM_ID_SIZE], ids[NODES][64], slot[16], port[8];
    const char *name = "queue";
    cloak_job *jobs;
    size_t count;
    cloak_queue *queue = submit(server_url(nodes[0]), name, id);
    const int holder = tell(nodes[1], 2, (const char *[]){"EXISTS", "cloak:{queue}:"}, NULL, 0), other = 1 - holder;
    cloak_queue_close(queue);
    queue = submit(server_url(nodes[other]), name, id); /* from the one that does not hold it */
    server_kill(nodes[holder]);
    CHECK(cloak_queue_claim(queue, "w", 8, 1000, 30, &jobs, &count, &error) == CLOAK_E_QUEUE);
    CHECK(error.retryable);
    server_restart(nodes[holder]);
    for (int k = 0; k < NODES; k++) {
        wait_until_whole(nodes[k]);
        CHECK(tell(nodes[k], 2, (const char *[]){"CLUSTER", "MYID"}, ids[k], sizeof ids[k]));
    }
    CHECK_OK(cloak_queue_claim(queue, "w", 1, 1000, 30, &jobs, &count, &error));
    CHECK_INT(count, 1);
    CHECK_OK(cloak_queue_release(queue, jobs, count, &error));
    cloak_jobs_free(jobs, count);
    cloak_job *more;
    CHECK_OK(cloak_queue_claim(queue, "w", 8, 1000, 30, &more, &count, &error));
    CHECK_INT(count, 2);
    for (size_t i = 0; i < count; i++)
        CHECK_OK(cloak_queue_finish(queue, &more[i], NULL, 0, NULL, &error));
    cloak_jobs_free(more, count);

    redisContext *c = redisConnect("127.0.0.1", server_port(nodes[holder]));
    redisReply *reply = redisCommand(c, "CLUSTER KEYSLOT %s", name);
    snprintf(slot, sizeof slot, "%lld", reply->integer);
    freeReplyObject(reply);
    snprintf(port, sizeof port, "%d", server_port(nodes[other]));
    CHECK(tell(nodes[other], 5, (const char *[]){"CLUSTER", "SETSLOT", slot, "IMPORTING", ids[holder]}, NULL, 0));
    CHECK(tell(nodes[holder], 5, (const char *[]){"CLUSTER", "SETSLOT", slot, "MIGRATING", ids[other]}, NULL, 0));
    reply = redisCommand(c, "CLUSTER GETKEYSINSLOT %s 1000", slot);
    CHECK(reply->elements > 3);
    for (size_t i = 0; i < reply->elements; i++)
        CHECK(tell(nodes[holder], 6, (const char *[]){"MIGRATE", "127.0.0.1", port, reply->element[i]->str, "0", "5000"}, NULL, 0));
    freeReplyObject(reply);
    redisFree(c);
    for (int k = 0; k < NODES; k++)
        CHECK(tell(nodes[k], 5, (const char *[]){"CLUSTER", "SETSLOT", slot, "NODE", ids[other]}, NULL, 0));
    cloak_books books;
    CHECK_OK(cloak_queue_books(queue, id, &books, &error)); /* over the connection to where it was */
    CHECK(books.done == 1 && books.balanced);
    cloak_queue_close(queue);
    for (int k = 0; k < NODES; k++)
        server_stop(nodes[k]);
}

/* A node that only leads to the queue may be set up as it likes; the one that holds it may not. */
TEST(the_node_that_holds_the_queue_is_checked) {
    server *nodes[NODES];
    if (!start_cluster(nodes))
        return;
    char id[CLOAK_ALBUM_ID_SIZE];
    cloak_queue *queue = submit(server_url(nodes[0]), "queue", id);
    const int holder = tell(nodes[1], 2, (const char *[]){"EXISTS", "cloak:{queue}:"}, NULL, 0), other = 1 - holder;
    cloak_queue_close(queue);
    const char *policy[] = {"CONFIG", "SET", "maxmemory-policy", "allkeys-lru"};
    CHECK(tell(nodes[other], 4, policy, NULL, 0));
    CHECK_OK(cloak_queue_open(server_url(nodes[other]), "queue", 5, &queue, &error));
    for (int i = 0; i < NODES; i++)
        CHECK(tell(nodes[i], 4, (const char *[]){"CLIENT", "KILL", "TYPE", "normal"}, NULL, 0));
    claim_and_finish(queue, id);
    CHECK(tell(nodes[holder], 4, policy, NULL, 0));
    CHECK(tell(nodes[holder], 4, (const char *[]){"CLIENT", "KILL", "TYPE", "normal"}, NULL, 0));
    cloak_books books;
    CHECK(cloak_queue_books(queue, id, &books, &error) == CLOAK_E_QUEUE && strstr(error.text, "allkeys-lru"));
    cloak_queue_close(queue);
    for (int k = 0; k < NODES; k++)
        server_stop(nodes[k]);
}

/* The URL's node holds the queue, a replica takes over, and the node comes back as that one's replica. */
TEST(a_replica_takes_over) {
    server *nodes[NODES], *replica;
    char bus[8], id[CLOAK_ALBUM_ID_SIZE], node_id[64];
    if (!start_cluster(nodes) || !(replica = start_node(bus)))
        return;
    meet(nodes[0], replica, bus);
    wait_until_says(replica, "CLUSTER", "INFO", "cluster_state:ok", "cluster_known_nodes:3");
    cloak_queue_close(submit(server_url(nodes[0]), "queue", id));
    const int holder = tell(nodes[1], 2, (const char *[]){"EXISTS", "cloak:{queue}:"}, NULL, 0);
    CHECK(tell(nodes[holder], 2, (const char *[]){"CLUSTER", "MYID"}, node_id, sizeof node_id));
    CHECK(tell(replica, 3, (const char *[]){"CLUSTER", "REPLICATE", node_id}, NULL, 0));
    wait_until_says(replica, "INFO", "replication", "role:slave", "master_link_status:up");
    cloak_queue *queue;
    CHECK_OK(cloak_queue_open(server_url(nodes[holder]), "queue", 5, &queue, &error));
    CHECK(tell(replica, 2, (const char *[]){"CLUSTER", "FAILOVER"}, NULL, 0));
    wait_until_says(nodes[holder], "INFO", "replication", "role:slave", "master_link_status:up");
    CHECK(tell(nodes[holder], 4, (const char *[]){"CLIENT", "KILL", "TYPE", "normal"}, NULL, 0));
    claim_and_finish(queue, id);
    CHECK(tell(replica, 4, (const char *[]){"CLIENT", "KILL", "TYPE", "normal"}, NULL, 0));
    cloak_books books;
    CHECK_OK(cloak_queue_books(queue, id, &books, &error)); /* again from the URL's node on */
    cloak_queue_close(queue);
    server_stop(replica);
    for (int k = 0; k < NODES; k++)
        server_stop(nodes[k]);
}
