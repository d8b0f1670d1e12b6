/* The lease keeper's promise (worker/keeper.c), for Spin: while cloak_keeper_holds says true, no other worker can
 * hold the photo. README.md says what is modelled and what is not; `check` runs it.
 *
 * DESIGN. One photo, two workers, time in ticks. The server counts a lease from when it runs the call; the worker
 * counts from before it sent it and gives up earlier, as nine tenths of a lease are less than a lease by more
 * than what clocks drift apart: here a tick, by which the server's clock may run ahead once in each lease. Between
 * the sending of a call, its running and its answer any time may pass, and a worker may be stopped anywhere.
 *
 * The call that takes back a claim whose answer was lost may run again after it was given up.
 * Switches that break something (WRONG_...) are there to see that it is found.
 */
#define LEASE 4
#ifdef WRONG_FENCE
#define FENCE LEASE
#else
#define FENCE (LEASE - 1)
#endif

byte leased; /* the worker whose claim holds the lease, from 1; 0 for none, OLD for a claim that nobody remembers */
#define OLD 3
byte lease;   /* ticks until it runs out */
bool drifted; /* the server's clock has run ahead during this lease */

mtype = {IDLE, ASKED, GRANTED, WORKS, NONE, SENT, RAN};
mtype at[2] = IDLE, renewal[2] = NONE;
byte own[2];       /* ticks until the worker gives up */
byte sent[2];      /* the same, from the renewal that is on its way */
bool yes[2];       /* its answer */
bool same[2];      /* the claim is still the one that it was sent for */
bool held[2];      /* no renewal was refused */
bool doubt[2], late[2];

#define holds(w) (at[w] == WORKS && held[w] && own[w] > 0)

inline check() {
    assert(!holds(0) || leased == 1);
    assert(!holds(1) || leased == 2)
}

inline start_lease(w) {
    leased = w + 1;
    lease = LEASE;
    drifted = false
}

inline forget(w) {
    at[w] = IDLE;
    same[w] = false;
    held[w] = false;
    own[w] = 0;
    if
    :: leased == w + 1 -> leased = OLD
    :: else
    fi
}

/* recover.lua: the leases of the claim in doubt. */
inline recover(w) {
    if
    :: leased == OLD -> leased = 0; lease = 0
#ifdef WRONG_RECOVER
    :: leased == w + 1 -> leased = 0; lease = 0
#endif
    :: else
    fi
}

proctype Worker(byte w) {
    do
    :: d_step { at[w] == IDLE && !doubt[w] -> own[w] = FENCE; at[w] = ASKED }
    :: d_step { at[w] == ASKED && (leased == 0 || lease == 0) -> start_lease(w); at[w] = GRANTED; check() }
    :: d_step { at[w] == ASKED -> forget(w) } /* nothing there, or it did not arrive */
    :: d_step { at[w] == GRANTED ->
#ifdef WRONG_START
        own[w] = FENCE;
#endif
        held[w] = true;
        at[w] = WORKS;
        check() }
    :: d_step { at[w] == GRANTED -> forget(w); doubt[w] = true } /* the answer is lost */
    :: d_step { doubt[w] -> recover(w); doubt[w] = false; check() }
    :: d_step { doubt[w] -> late[w] = true }
    :: d_step { late[w] -> recover(w); late[w] = false; check() }
    :: d_step { at[w] == WORKS && leased == w + 1 -> leased = 0; lease = 0; forget(w) } /* finish, fail, release */
    :: d_step { at[w] == WORKS -> forget(w) }                               /* dropped; or the worker dies */

    :: d_step { at[w] == WORKS && renewal[w] == NONE -> renewal[w] = SENT; sent[w] = FENCE; same[w] = true }
    :: d_step { renewal[w] == SENT ->
        renewal[w] = RAN;
#ifdef WRONG_RENEW
        yes[w] = true;
#else
        yes[w] = same[w] && leased == w + 1;
#endif
        if
        :: yes[w] && leased == w + 1 -> start_lease(w)
        :: else
        fi;
        check() }
    :: d_step { renewal[w] == RAN ->
        renewal[w] = NONE;
        if
        :: same[w] && !yes[w] -> held[w] = false
        :: same[w] && yes[w] -> own[w] = sent[w]
        :: else
        fi;
        same[w] = false;
        yes[w] = false;
        sent[w] = 0;
        check() }
    :: d_step { renewal[w] != NONE -> renewal[w] = NONE; same[w] = false; yes[w] = false; sent[w] = 0 } /* no answer */
    od
}

#define less(ticks) ticks = (ticks -> ticks - 1 : 0)

proctype Time() {
    do
    :: d_step { less(lease); less(own[0]); less(own[1]); less(sent[0]); less(sent[1]); check() }
    :: d_step { lease > 0 && !drifted -> lease--; drifted = true; check() }
    od
}

init {
    atomic {
        run Worker(0);
        run Worker(1);
        run Time()
    }
}
