/* Progress lines; see the header. */
#include "dispatcher/progress.h"

#include <unistd.h>

#include "common/base/clock.h"

static const double plain_interval = 10; /* seconds between lines where there is no terminal */

cloak_progress cloak_progress_start(FILE *to, const cloak_album_report *now) {
    return (cloak_progress){.to = to,
        .terminal = isatty(fileno(to)) != 0,
        .began = cloak_now(),
        .printed = -1e9,
        .settled_before = now->settled,
        .last_settled = now->settled};
}

static void eta(const cloak_progress *p, uint64_t settled, uint64_t total, char text[48]) {
    double elapsed = cloak_now() - p->began;
    uint64_t fresh = settled - p->settled_before;
    text[0] = 0;
    if (fresh == 0 || elapsed <= 0 || settled >= total)
        return;
    double rate = (double)fresh / elapsed;
    long left = (long)((double)(total - settled) / rate + 0.5);
    if (left >= 3600)
        snprintf(text, 48, ", %.2f photos/s, %ld h %02ld min left", rate, left / 3600,
            left / 60 % 60);
    else
        snprintf(text, 48, ", %.2f photos/s, %ld:%02ld left", rate, left / 60, left % 60);
}

void cloak_progress_show(cloak_progress *p, const cloak_album_report *now, uint64_t total) {
    double time = cloak_now();
    bool news = now->settled != p->last_settled;
    if (!p->terminal && (!news || time - p->printed < plain_interval))
        return;
    char left[48];
    eta(p, now->settled, total, left);
    int percent = total ? (int)(now->settled * 100 / total) : 100;
    fprintf(p->to, "%s  %3d %%  %llu of %llu photos, %lld residual, %llu dead%s%s",
        p->terminal ? "\r" : "", percent, (unsigned long long)now->settled,
        (unsigned long long)total, (long long)now->residual,
        (unsigned long long)now->books.dead, left, p->terminal ? "\033[K" : "\n");
    fflush(p->to);
    p->printed = time;
    p->last_settled = now->settled;
}

void cloak_progress_end(cloak_progress *p) {
    if (p->terminal && p->printed > 0)
        fputc('\n', p->to);
    fflush(p->to);
}
