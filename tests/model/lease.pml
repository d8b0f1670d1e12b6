/* The protocol of lease, fencing and finish, for Spin. README.md says what is modelled and what is not;
 * `check` runs it.
 *
 * DESIGN. A script of common/queue/scripts is one inline of the same name and runs in one step, as Redis runs
 * it. A worker (worker/loop.c, worker/pipeline.c) is a table of steps, so that it may die or be overtaken
 * between any two of them. Its calls may be answered, run without the answer's arriving, never run, or run at
 * any later time. Time does not exist: a lease may end whenever a claim looks, a delay likewise, and a worker
 * may think at any moment that its lease is over, or not notice. So whatever the clocks do is covered;
 * what the worker's own clock guarantees when they are right is keeper.pml's matter.
 *
 * A set of photos is a byte, bit j for photo j. A token is a number that nobody knows any more when it is given
 * out again, which stands for 64 random bits.
 *
 * Switches that change what may happen:
 *   JOBS       1 or 2 photos
 *   LATE       a call that was given up may run later; one such call at a time
 *   OPERATOR   someone submits, pauses, resumes, retries and cancels; else all is submitted at the start
 *   FAULTS=n   at most n crashes, lost or late calls, interruptions and pauses, no retries, and an idle claim waits
 *              until something is due: then there is an end, and every photo must reach it (no other end state,
 *              no cycle)
 *   MIXED      the two workers make different bytes of the same photo
 *   PROMPT     right clocks, and nobody is stopped between his last look at the lease and the receipt
 *   VERSIONS   photo 1 is photo 0 after a change of its file: another job, the same place in the store
 * Switches that break something (WRONG_...) are there to see that it is found.
 */
#ifndef JOBS
#define JOBS 2
#endif
#define WORKERS 2
#ifdef LATE
#define TOKENS (JOBS + 2) /* per worker: in hand, in a late call, and one for each photo it held when it died */
#else
#define TOKENS (JOBS + 1)
#endif
#ifndef LOSSES
#define LOSSES 3
#endif
#ifndef RETRIES
#define RETRIES 1 /* of a transient error; 5 in truth */
#endif
#define EVERY ((1 << JOBS) - 1)

#define BIT(j) (1 << (j))
#define SIZE(set) (((set) & 1) + ((set) >> 1 & 1))
#define LOWEST(set) (((set) & 1) -> 0 : 1)
#define add(set, bits) set = set | (bits)
#define remove(set, bits) set = set & ~(bits)
#define worker_of(t) (((t) - 1) / TOKENS)

/* --- Redis ----------------------------------------------------------------------------------------- */

byte waiting, single, aside, delayed, dead; /* entries in lists, sets and hashes */
byte leases, leased[JOBS];                  /* the set, and the hash: a token, or 0 */
byte failures[JOBS], losses[JOBS];          /* what a photo's one entry says */
byte seen, done;
byte settled_done[WORKERS * TOKENS + 1], settled_failed[WORKERS * TOKENS + 1]; /* by token */
bool paused, resuming, cancelled;
byte n_total, n_waiting, n_leased, n_delayed, n_done, n_dead, n_cancelled; /* the album's counters */

/* --- the store: which bytes lie there, and which a receipt describes; 0 for none ----------------------- */

byte photo[JOBS], receipt[JOBS];
#ifdef VERSIONS
#define place(j) 0
#else
#define place(j) (j)
#endif
#if defined(MIXED)
#define bytes_of(w) ((w) + 1)
#elif defined(VERSIONS)
#define bytes_of(w) (job[w] + 1) /* it read the file when the photo was that; the receipt names it */
#else
#define bytes_of(w) 1
#endif

/* --- workers --------------------------------------------------------------------------------------- */

mtype = {IDLE, NEXT, LOOK, COMPARE, WORK, PUT, RECEIPT, FINISH, FAIL, BURY, RETURN, RELEASE};
mtype at[WORKERS];
byte token[WORKERS]; /* of the claim it works on, or 0 */
byte hand[WORKERS];  /* photos of the claim that it has not begun */
byte job[WORKERS];   /* the one in work */
byte read[WORKERS];  /* the bytes that the receipt it found describes */
byte doubt[WORKERS]; /* token of a claim whose answer was lost, or 0 */

/* --- a call that its worker gave up and that runs yet ------------------------------------------------- */

mtype = {NOTHING, CLAIM, RECOVER};
mtype late = NOTHING;
byte late_token, late_jobs;
byte late_newer;       /* of a recover: further tokens that it means, bit t - 1 for token t */
bool late_boot;        /* the worker that sent it still lives */

/* --- what only the check knows ----------------------------------------------------------------------- */

byte taken[WORKERS * TOKENS + 1]; /* photos that were taken back from this token by someone else */

#ifdef FAULTS
byte faults = FAULTS;
#define may_fault (faults > 0)
#define fault() faults--
#else
#define may_fault true
#define fault() skip
#endif

#define held (((leased[0] != 0) | (leased[JOBS - 1] != 0) << (JOBS - 1)))
#define ended (held == 0 && (cancelled || (done | dead) == EVERY))

/* What must be so after every step. */
inline check() {
    assert(n_total == n_waiting + n_leased + n_delayed + n_done + n_dead + n_cancelled);
    assert(n_total == SIZE(seen) && n_done == SIZE(done));
    assert(n_leased == SIZE(held) && n_dead == SIZE(dead));
    assert(held == leases); /* or a lease would never end */
    /* nothing in two places: a sum of sets is their union only then */
    assert(waiting + single + aside + delayed + held + dead + done ==
           (waiting | single | aside | delayed | held | dead | done));
    assert(cancelled || (waiting | single | aside | delayed | held | dead | done) == seen);
    assert(n_waiting == (cancelled -> 0 : SIZE(waiting | single | aside)));
    assert(n_delayed == (cancelled -> 0 : SIZE(delayed)));
    j = 0;
    do
    :: j < JOBS ->
#ifndef VERSIONS
        assert(!(done & BIT(j)) || (photo[j] && receipt[j] == photo[j]));
#endif
        assert(!receipt[j] || photo[j]);
        j++
    :: else -> break
    od;
    j = 0;
#ifdef VERSIONS /* when all is done, the newer one lies there */
    assert(done != EVERY || (photo[0] == JOBS && receipt[0] == JOBS))
#endif
}

#define known(t) (leased[0] == (t) || leased[JOBS - 1] == (t) || token[0] == (t) || token[1] == (t) || \
    doubt[0] == (t) || doubt[1] == (t) || late_token == (t))

/* Ends a step: what nobody can ask for any more is forgotten. */
inline settle() {
    t = 1;
    do
    :: t <= WORKERS * TOKENS ->
        if
        :: !known(t) -> settled_done[t] = 0; settled_failed[t] = 0; taken[t] = 0; remove(late_newer, BIT(t - 1))
        :: else
        fi;
        t++
    :: else -> break
    od;
    t = 0;
    check()
}

/* --- scripts ------------------------------------------------------------------------------------- */

/* place.lua */
inline wait_again(j) {
    if
    :: losses[j] > 0 -> assert(!(single & BIT(j))); add(single, BIT(j))
    :: else -> assert(!(waiting & BIT(j))); add(waiting, BIT(j))
    fi
}

inline give_back(j) {
    n_leased--;
    if
    :: cancelled -> n_cancelled++
    :: else -> wait_again(j); n_waiting++
    fi
}

inline lose(j) {
#ifndef WRONG_LOSS
    losses[j]++;
#endif
    n_leased--;
    if
    :: cancelled -> n_cancelled++
    :: !cancelled && losses[j] >= LOSSES -> add(dead, BIT(j)); n_dead++
    :: else -> add(delayed, BIT(j)); n_delayed++
    fi
}

/* Someone else ends the lease of photo j. */
inline remove_lease(j) {
    add(taken[leased[j]], BIT(j));
#ifndef WRONG_EXPIRY
    leased[j] = 0;
#endif
    remove(leases, BIT(j))
}

inline take_back(t, j) {
#ifdef WRONG_RELEASE
    reply = leased[j] != 0;
#else
    reply = leased[j] == t;
#endif
    if
    :: reply ->
        assert(!(taken[t] & BIT(j)));
        leased[j] = 0;
        remove(leases, BIT(j))
    :: else
    fi
}

/* claim.lua, in two halves: expire, promote and bring_back, then the batch. `due`: leases that have run out;
 * `ready`: delayed photos whose time has come; `want`: what the batch has room for, nothing when the queue is
 * paused. */
inline bring_back_due() {
    j = 0;
    do
    :: j < JOBS ->
        if
        :: due & BIT(j) -> remove_lease(j); lose(j)
        :: else
        fi;
        j++
    :: else -> break
    od;
    remove(ready, ~delayed);
    remove(delayed, ready);
    j = 0;
    do
    :: j < JOBS ->
        if
        :: (ready & BIT(j)) && !cancelled -> wait_again(j); n_delayed--; n_waiting++
        :: else
        fi;
        if
        :: (resuming && (aside & BIT(j))) ->
            remove(aside, BIT(j));
            if
            :: !cancelled -> wait_again(j)
            :: else
            fi
        :: else
        fi;
        j++
    :: else -> break
    od;
    resuming = false;
    j = 0
}

inline lease(t) {
    batch = 0;
    if
    :: want == 0
    :: want && cancelled -> single = 0; waiting = 0
    :: want && !cancelled && paused -> add(aside, single | waiting); single = 0; waiting = 0
    :: want && !cancelled && !paused && single -> /* alone */
        batch = BIT(LOWEST(want & single));
        remove(single, batch)
    :: else ->
        batch = want & waiting;
#ifndef WRONG_CLAIM
        remove(waiting, batch)
#endif
    fi;
    j = 0;
    do
    :: j < JOBS ->
        if
        :: batch & BIT(j) ->
            leased[j] = t;
            add(leases, BIT(j));
            n_waiting--;
            n_leased++
        :: else
        fi;
        j++
    :: else -> break
    od;
    j = 0
}

inline some(set, from) {
    set = 0;
    if
    :: (from) & 1 -> add(set, 1)
    :: true
    fi;
    if
    :: (from) & 2 -> add(set, 2)
    :: true
    fi
}

#ifdef PROMPT
#define delivers(w, j) (at[w] == PUT || at[w] == RECEIPT) && job[w] == (j) && token[w] == leased[j]
#define may_end ((delivers(0, 0) || delivers(1, 0) -> 0 : 1) | (delivers(0, JOBS - 1) || delivers(1, JOBS - 1) -> 0 : 1) << (JOBS - 1))
#else
#define may_end EVERY
#endif

inline claim(t) {
    some(due, leases & may_end);
    some(ready, delayed | due);
#ifdef FAULTS
    if /* an idle worker claims until something is due */
    :: (due | ready | waiting | single) == 0 && !(resuming && aside) -> due = leases; ready = delayed
    :: else
    fi;
#endif
    d_step { bring_back_due() };
#ifdef FAULTS
    want = single | waiting;
#else
    batch = (single -> single : waiting);
    some(want, batch);
#endif
    d_step { lease(t); due = 0; ready = 0; want = 0 }
}

inline finish(t, j) {
#ifdef WRONG_FINISH
    reply = leased[j] != 0;
#else
    reply = leased[j] == t;
#endif
    if
    :: reply ->
        assert(!(taken[t] & BIT(j))); /* a finish by someone whose lease is gone is refused */
        assert(!(done & BIT(j)));     /* or its numbers would be added twice */
        leased[j] = 0;
        remove(leases, BIT(j));
        n_leased--;
        add(done, BIT(j));
        n_done++;
#ifndef WRONG_SETTLED
        add(settled_done[t], BIT(j))
#endif
    :: else -> reply = (settled_done[t] >> j) & 1
    fi
}

/* `retries` of the error's class. */
inline fail(t, j, retries) {
    take_back(t, j);
    if
    :: reply ->
        failures[j]++;
        n_leased--;
        if
        :: cancelled -> n_cancelled++
        :: !cancelled && failures[j] > retries -> add(dead, BIT(j)); n_dead++
        :: else -> add(delayed, BIT(j)); n_delayed++
        fi;
        add(settled_failed[t], BIT(j))
    :: else -> reply = (settled_failed[t] >> j) & 1
    fi
}

inline release(t, jobs) {
    j = 0;
    do
    :: j < JOBS ->
        if
        :: jobs & BIT(j) ->
            take_back(t, j);
            if
            :: reply -> give_back(j)
            :: else
            fi
        :: else
        fi;
        j++
    :: else -> break
    od;
    j = 0
}

inline renew(t, jobs) {
    j = 0;
    do
    :: j < JOBS ->
        if
#ifdef WRONG_RENEW
        :: jobs & BIT(j) -> add(leases, BIT(j))
#else
        :: (jobs & BIT(j)) && leased[j] == t -> add(leases, BIT(j))
#endif
        :: else
        fi;
        j++
    :: else -> break
    od;
    j = 0
}

/* recover.lua without a loss: leases of a claim whose answer was lost, and of later ones. */
inline recover(t, newer) {
    j = 0;
    do
    :: j < JOBS ->
        if
        :: leased[j] && (leased[j] == t || (newer >> (leased[j] - 1) & 1)) ->
            remove_lease(j);
            give_back(j)
        :: else
        fi;
        j++
    :: else -> break
    od;
    j = 0
}

/* recover.lua with a loss: `cloak run` has seen worker w die. */
inline recover_worker(w) {
    j = 0;
    do
    :: j < JOBS ->
        if
        :: leased[j] && worker_of(leased[j]) == w -> remove_lease(j); lose(j)
        :: else
        fi;
        j++
    :: else -> break
    od;
    j = 0
}

inline submit(jobs) {
#ifdef WRONG_SUBMIT
    batch = jobs;
#else
    batch = jobs & ~seen;
#endif
    add(seen, batch);
    add(waiting, batch);
    n_total = n_total + SIZE(batch);
    n_waiting = n_waiting + SIZE(batch);
    batch = 0
}

inline cancel() {
    paused = false;
    resuming = true;
    cancelled = true;
    n_cancelled = n_cancelled + n_waiting;
#ifndef WRONG_CANCEL
    n_cancelled = n_cancelled + n_delayed;
#endif
    n_waiting = 0;
    n_delayed = 0
}

inline retry() {
    j = 0;
    do
    :: j < JOBS ->
        if
        :: dead & BIT(j) ->
            remove(dead, BIT(j));
            failures[j] = 0;
            losses[j] = 0;
            wait_again(j);
            n_dead--;
            n_waiting++
        :: else
        fi;
        j++
    :: else -> break
    od;
    j = 0
}

/* --- the worker ---------------------------------------------------------------------------------- */

mtype = {HEARD, LOST, LATER, NEVER};

/* What becomes of a call: `answer`. */
inline send() {
    if
    :: answer = HEARD
    :: may_fault -> answer = LOST; fault()
    :: may_fault -> answer = NEVER; fault()
#ifdef LATE
    :: may_fault && late == NOTHING -> answer = LATER; fault()
#endif
    fi
}

#define runs (answer == HEARD || answer == LOST)

inline postpone(what, t, jobs) {
    late = what;
    late_token = t;
    late_jobs = jobs;
    late_boot = late == RECOVER
}

inline forget_late() {
    late = NOTHING;
    late_token = 0;
    late_jobs = 0;
    late_newer = 0;
    late_boot = false
}

/* A token that nobody knows. A recover that is on its way means it, too. */
inline new_token(w) {
    t = w * TOKENS + 1;
    do
    :: known(t) -> t++
    :: else -> break
    od;
    assert(worker_of(t) == w);
    token[w] = t;
    if
    :: late == RECOVER && late_boot && worker_of(late_token) == w -> add(late_newer, BIT(t - 1))
    :: else
    fi;
    t = 0
}

/* Out of the worker's mind: the photo in hand, the claim, all. */
inline go_on(w) {
    job[w] = 0;
    read[w] = 0;
    at[w] = NEXT;
    if
    :: hand[w] == 0 -> token[w] = 0; at[w] = IDLE
    :: else
    fi
}

inline drop_claim(w) {
    token[w] = 0;
    hand[w] = 0;
    job[w] = 0;
    read[w] = 0;
    at[w] = IDLE
}

/* Redis was away for too long while the worker told what became of a photo: its lease will run out; the rest of the
 * batch is given back. */
inline give_up(w) {
    job[w] = 0;
    read[w] = 0;
    at[w] = RELEASE;
    if
    :: hand[w] == 0 -> token[w] = 0; at[w] = IDLE
    :: else
    fi
}

#ifdef WRONG_ORDER
#define FIRST FINISH /* the books before the store */
#else
#define FIRST PUT
#endif
#if defined(WRONG_RECEIPT)
#define recognised(w) false
#elif defined(VERSIONS) /* the receipt is this very photo's */
#define recognised(w) photo[0] == read[w] && read[w] == bytes_of(w)
#else
#define recognised(w) photo[job[w]] == read[w]
#endif
#ifdef PROMPT
#define holds(w) leased[job[w]] == token[w]
#else
#define holds(w) true /* for all it knows */
#endif

#define claims_help (waiting | single | delayed | leases | (resuming -> aside : 0))

proctype Worker(byte w) {
    byte due, ready, want, batch, j, t;
    bool reply;
    mtype answer = HEARD;
#ifndef FAULTS
end:
#endif
    do
    :: atomic { at[w] == IDLE && doubt[w] == 0 && claims_help ->
        new_token(w);
        send();
        if
        :: runs -> claim(token[w])
        :: answer == LATER -> postpone(CLAIM, token[w], EVERY)
        :: else
        fi;
        d_step {
            if
            :: answer == HEARD && batch -> hand[w] = batch; at[w] = NEXT
            :: answer == HEARD && !batch -> token[w] = 0
            :: else -> doubt[w] = token[w]; token[w] = 0
            fi;
            batch = 0; answer = HEARD; settle()
        } }
    :: atomic { at[w] == IDLE && doubt[w] ->
        send();
        d_step {
            if
            :: runs -> recover(doubt[w], 0)
            :: answer == LATER -> postpone(RECOVER, doubt[w], 0)
            :: else
            fi;
            if
            :: answer == HEARD -> doubt[w] = 0
            :: else
            fi;
            answer = HEARD; settle()
        } }
    :: atomic { at[w] == NEXT -> /* the next photo of the batch, or the lease seems over */
        job[w] = LOWEST(hand[w]);
        remove(hand[w], BIT(job[w]));
        if
        :: at[w] = LOOK
        :: go_on(w)
        fi;
        d_step { settle() } }
    :: atomic { at[w] == NEXT && may_fault -> fault(); at[w] = RELEASE } /* stopped, or two seconds are over */
    :: atomic { at[w] == LOOK -> /* was it delivered before? */
        read[w] = receipt[place(job[w])];
        at[w] = (read[w] -> COMPARE : WORK) }
    :: atomic { at[w] == COMPARE ->
        at[w] = (recognised(w) -> FINISH : WORK);
        read[w] = 0 }
    :: atomic { at[w] == WORK -> if
        :: holds(w) -> at[w] = FIRST
        :: at[w] = FAIL
        :: at[w] = BURY
        :: go_on(w) /* the lease seems over */
        :: may_fault -> fault(); at[w] = RETURN /* stopped, or Redis is away */
        fi;
        d_step { settle() } }
    :: atomic { at[w] == PUT -> if
        ::
#ifndef VERSIONS /* what was delivered is not replaced by something else */
           assert(!receipt[job[w]] || receipt[job[w]] != photo[job[w]] || photo[job[w]] == bytes_of(w));
#endif
           photo[place(job[w])] = bytes_of(w);
           if
           :: at[w] = RECEIPT
           :: at[w] = FAIL /* it is there, and the store says no */
           fi
        :: at[w] = FAIL
        fi;
        d_step { settle() } }
    :: atomic { at[w] == RECEIPT -> if
        :: receipt[place(job[w])] = bytes_of(w);
           if
           :: at[w] = FINISH
           :: at[w] = FAIL
           fi
        :: at[w] = FAIL
        fi;
        d_step { settle() } }
    :: atomic { at[w] == FINISH ->
        send();
        d_step {
            reply = false;
            if
            :: runs -> finish(token[w], job[w])
            :: answer == LATER -> postpone(FINISH, token[w], BIT(job[w]))
            :: else
            fi;
            if
            :: answer == HEARD -> /* refused only if the lease was taken back, told yes only if not */
                assert(reply != ((taken[token[w]] >> job[w]) & 1));
                go_on(w)
            :: else
            fi;
            reply = false; answer = HEARD; settle()
        } }
    :: atomic { at[w] == FAIL || at[w] == BURY ->
        send();
        d_step {
            reply = false;
            if
            :: runs -> fail(token[w], job[w], (at[w] == FAIL -> RETRIES : 0))
            :: answer == LATER -> postpone(at[w], token[w], BIT(job[w]))
            :: else
            fi;
            if
            :: answer == HEARD ->
                assert(reply != ((taken[token[w]] >> job[w]) & 1));
                go_on(w)
            :: else
            fi;
            reply = false; answer = HEARD; settle()
        } }
    :: atomic { at[w] == RETURN ->
        send();
        d_step {
            if
            :: runs -> release(token[w], BIT(job[w]))
            :: answer == LATER -> postpone(RELEASE, token[w], BIT(job[w]))
            :: else
            fi;
            if
            :: answer == HEARD -> go_on(w)
            :: else
            fi;
            reply = false; answer = HEARD; settle()
        } }
    :: atomic { (at[w] == FINISH || at[w] == FAIL || at[w] == BURY || at[w] == RETURN) && may_fault ->
        fault();
        d_step { give_up(w); settle() } }
    :: atomic { at[w] == RELEASE -> /* once; what does not arrive runs out */
        send();
        d_step {
            if
            :: runs -> release(token[w], hand[w])
            :: answer == LATER -> postpone(RELEASE, token[w], hand[w])
            :: else
            fi;
            drop_claim(w);
            reply = false; answer = HEARD; settle()
        } }
#ifdef WRONG_RENEW /* a right one changes nothing that this model knows */
    :: d_step { token[w] -> renew(token[w], hand[w] | (at[w] == NEXT || at[w] == RELEASE -> 0 : BIT(job[w]))); settle() }
#endif
    :: atomic { (token[w] || doubt[w]) && may_fault -> /* dies, and another life begins */
        fault();
        if
        :: d_step { recover_worker(w) }
        :: true
        fi;
        d_step {
            drop_claim(w);
            doubt[w] = 0;
            if
            :: late && worker_of(late_token) == w -> late_boot = false
            :: else
            fi;
            settle()
        } }
#ifdef FAULTS
    :: ended && at[w] == IDLE && doubt[w] == 0 -> break
#endif
    od
}

#ifdef LATE
proctype Late() {
    byte due, ready, want, batch, j, t;
    bool reply;
end:
    do
    :: atomic { late == CLAIM -> claim(late_token); d_step { batch = 0; forget_late(); settle() } }
    :: d_step { late == RECOVER -> recover(late_token, late_newer); forget_late(); settle() }
    :: d_step { late == FINISH -> finish(late_token, LOWEST(late_jobs)); reply = false; forget_late(); settle() }
    :: d_step { late == FAIL -> fail(late_token, LOWEST(late_jobs), RETRIES); reply = false; forget_late(); settle() }
    :: d_step { late == BURY -> fail(late_token, LOWEST(late_jobs), 0); reply = false; forget_late(); settle() }
    :: d_step { late == RELEASE -> release(late_token, late_jobs); reply = false; forget_late(); settle() }
    :: d_step { late != NOTHING -> forget_late(); settle() } /* never */
    od
}
#endif

#ifdef OPERATOR
proctype Operator() {
    byte batch, j, t;
    byte set;
end:
    do
#ifdef WRONG_SUBMIT
    :: atomic { !cancelled ->
#else
    :: atomic { !cancelled && seen != EVERY -> /* else it changes nothing */
#endif
        some(set, EVERY);
        set = (set & ~seen -> set : EVERY);
        d_step { submit(set); set = 0; settle() } }
#ifndef FAULTS
    :: d_step { dead && !cancelled -> retry(); settle() }
#else
    :: (seen == EVERY || cancelled) && !paused -> break
#endif
    :: d_step { !paused && !cancelled && may_fault -> fault(); paused = true; resuming = false; settle() }
    :: d_step { paused -> paused = false; resuming = true; settle() }
    :: d_step { !cancelled -> cancel(); settle() }
    od
}
#endif

init {
    byte batch, j, t;
    atomic {
        at[0] = IDLE;
        at[1] = IDLE;
#ifndef OPERATOR
        d_step { submit(EVERY); settle() };
#endif
        run Worker(0);
        run Worker(1);
#ifdef LATE
        run Late();
#endif
#ifdef OPERATOR
        run Operator();
#endif
    }
}
