/*
 * Two applications, an inlet and an outlet between them, flows one after the other on one link, which
 * anybody may break or tamper with, and a session that ends well or badly. See README.md. Names are
 * those of the code; a comment gives the function.
 *
 * Everything here is finite and nothing loops: applications act a bounded number of times, and `faults`
 * bounds what befalls the link, the sessions and the processes. So every run ends, and what must happen
 * in the end is an assertion about the states in which nothing can happen any more (proctype Judge).
 * The claim below says the same as LTL.
 */

#ifndef FLOWS
#define FLOWS 2 /* on the link, one after the other */
#endif
#ifndef ITEMS
#define ITEMS 1 /* that an application may send in a flow */
#endif
#ifndef FAULTS
#define FAULTS 2 /* cuts, ends of the session, resets, tamperings */
#endif
#ifndef ROOM
#define ROOM 2 /* records under way in one direction; a writer waits for room */
#endif

/* A process that has done its work stays: its going would be one more state. */
#define REST end_rest: false

/* It is about what does not end, and with several flows all of them do. */
#if FLOWS == 1 && !defined(NO_AWAIT)
#define AWAIT
#endif

#define I 0 /* the inlet, and its application, the client */
#define O 1 /* the outlet, and its application, the service */

#define ENDS (2 * FLOWS)
#define AT(side, flow) ((side) * FLOWS + (flow)) /* an end of a flow */
#define PEER(x) (((x) + FLOWS) % ENDS)

/* On the link. DATA 0 of the initiator is the opening message, which no application has sent. */
#define NONE 0
#define HELLO 1
#define DATA 2
#define END 3
#define ABORT 4
#define JUNK 5 /* bytes that nobody has sealed: a flip, an invention, half a record */

/* What reading the link tells when there is no more of it. */
#define LINKEOF 6
#define LINKERR 7

/* channel.flowState */
#define OPEN 0
#define CLEAN 1
#define CLOSED 2

/* channel.sessionState; over is closing, with nothing left to close */
#define SESSION_OPEN 0
#define SESSION_GOING_AWAY 1
#define SESSION_DRAINING 2
#define SESSION_CLOSING 3

/* The link: what goes from each side to the other. */
chan wire[2] = [ROOM] of { byte, byte, byte }; /* what, flow, number */
bool broken[2];  /* the direction has ended or will: any part of what is under way may still arrive */
bool closed[2];  /* this side has closed its conn */
bool fin[2];     /* this side has closed its conn with nothing unread: all that it sent arrives */
bool reset[2];   /* this side's conn has had an RST: AwaitReset tells; an end it does not tell */
byte forged[2];  /* a record that the man in the middle has put in front */
byte forgedFlow[2];
byte forgedSeq[2];
bool hole;       /* something was swallowed without a word */

byte faults;

/* Session and link, of each side. */
byte session[2]; /* life.state */
bool drained[2]; /* ghost: the session has been draining */
bool tracked[2]; /* the link is in linkPool.links */
bool resting[2]; /* link.resting */
bool unauth;     /* link.unauthenticated, of the responder's */
bool idle;       /* the link is in linkPool.idle */
byte owner[2];   /* ghost: which flow uses the link, counted from 1 */
bool used[FLOWS];/* the responder's replay filter */

#define DEAD(side) (session[side] >= SESSION_DRAINING)
/* linkPool.busy: a flow is on the link, or may be */
#define BUSY(side) (tracked[side] && !closed[side] && (!resting[side] || (side == O && unauth)))
/* linkPool.shutUnused does not object */
#define UNUSED (!tracked[I] || idle)

/* Flow, each end. */
byte life[ENDS];
byte ended[ENDS];
bool locked[ENDS];      /* sending.Mutex */
bool sendErr[ENDS];     /* sending.err */
bool sendEnded[ENDS];   /* sending.ended */
bool gotEnd[ENDS];      /* receiving.err == io.EOF */
bool sentAbort[ENDS];   /* ghost */
byte sendSeq[ENDS];
byte recvSeq[ENDS];

/* Joint, each end. */
bool started[ENDS];
bool failing[ENDS];     /* joint.once */
byte finished[ENDS];    /* goroutines */

/* Application, each end. */
byte wrote[ENDS];
bool hasEnded[ENDS];    /* it has ended its direction, having written all it wanted */
bool hasReset[ENDS];
bool mute[2];         /* the side's application never ends of itself */
byte got[ENDS];
bool eof[ENDS];         /* it was told that the other one has ended */
bool failed[ENDS];      /* it was reset */

/* ---- the link ---- */

/* Close, or Reset: to the other side the link ends somewhere in what is under way. */
inline closeConn(side, rst) {
	if
	:: !closed[side] ->
		closed[side] = true;
		reset[1 - side] = reset[1 - side] || (rst && !closed[1 - side]);
		broken[I] = true;
		broken[O] = true;
		forged[1 - side] = NONE;
		forgedFlow[1 - side] = 0;
		forgedSeq[1 - side] = 0;
		do
		:: len(wire[1 - side]) > 0 -> wire[1 - side]?_, _, _
		:: else -> break
		od
	:: else
	fi
}

#define READABLE(side) (forged[1 - (side)] != NONE || len(wire[1 - (side)]) > 0)

/* Close where nothing is unread: what this side has sent arrives, and then an end. */
inline closeGently(side) {
	if
	:: closed[side] -> skip
	:: !closed[side] && READABLE(side) -> closeConn(side, true)
	:: !closed[side] && !READABLE(side) ->
		closed[side] = true;
		fin[side] = true;
		broken[1 - side] = true
	fi
}

/* One record, or LINKEOF or LINKERR, to k, kf, ks. */
inline receive(side) {
	if
	:: closed[side] -> k = LINKERR
	:: !closed[side] && forged[1 - side] != NONE ->
		k = forged[1 - side]; kf = forgedFlow[1 - side]; ks = forgedSeq[1 - side];
		forged[1 - side] = NONE; forgedFlow[1 - side] = 0; forgedSeq[1 - side] = 0
	:: !closed[side] && forged[1 - side] == NONE && len(wire[1 - side]) > 0 -> wire[1 - side]?k, kf, ks
	:: !closed[side] && broken[1 - side] -> k = LINKEOF
	:: !closed[side] && broken[1 - side] -> k = LINKERR
	:: !closed[side] && !broken[1 - side] && fin[1 - side] && !READABLE(side) -> k = LINKEOF
	fi
}

inline forget() { k = 0; kf = 0; ks = 0 }

/* One record to the link; bad tells whether that failed. It waits for room, and what is locked stays
 * locked. */
inline transmit(what) {
	if
	:: closed[side] || broken[side] -> bad = true; reset[side] = !closed[side]
	:: !closed[side] && broken[side] -> /* the kernel took it, and nobody will ever have it */
		sendSeq[x]++;
		reset[side] = closed[1 - side];
		broken[1 - side] = broken[1 - side] || closed[1 - side] /* an RST is the answer */
	:: !closed[side] && !broken[side] && len(wire[side]) < ROOM ->
		assert(owner[side] == f + 1); /* P5 */
		wire[side]!what, f, sendSeq[x];
		sendSeq[x]++
	fi
}

/* ---- channel.Flow; x, side and f are the process's ---- */

inline shut(rst) { /* Flow.shut */
	if
	:: life[x] == OPEN -> life[x] = CLOSED; closeConn(side, rst)
	:: else
	fi
}

inline sendFailed() { /* Flow.sent */
	sendErr[x] = true;
	shut(false)
}

inline park() { /* linkPool.park; the responder waits for the next hello */
	if
	:: side == I ->
		if
		:: !closed[I] && READABLE(I) -> closeConn(I, false) /* read together with the end */
		:: DEAD(I) -> closeConn(I, false)
		:: !DEAD(I) ->
			/* P5: it has ended both ways, and has not said otherwise */
			assert(sendEnded[x] && gotEnd[x] && !sentAbort[x]);
			idle = true
		fi
	:: else
	fi
}

#if defined(RELEASE_AFTER_ONE)
#define FREE (side == I || ended[x] == 2)
#elif defined(RELEASE_AFTER_SENT)
#define FREE (ended[x] == 2 || (side == I && sendEnded[x]))
#else
#define FREE (ended[x] == 2)
#endif

inline endDirection() { /* Flow.endDirection */
	ended[x]++;
	if
	:: life[x] == OPEN && FREE -> life[x] = CLEAN; resting[side] = true; park()
	:: else
	fi
}

/*
 * joint.fail: Flow.Reset, that is Flow.abort, then a reset for the application, then whatever comes
 * after. Between the abort record and the rest, the other goroutine does what it likes. Not to be called
 * within atomic. The abort has the lock at once, or a little time at most, or does not happen.
 */
#define MAYABORT (life[x] == OPEN && !locked[x] && !sendErr[x] && !sendEnded[x] && !closed[side] && \
	!broken[side] && len(wire[side]) < ROOM)

inline fail(n) {
	if
	:: atomic { !failing[x] && MAYABORT ->
			failing[x] = true;
			assert(owner[side] == f + 1); /* P5 */
			wire[side]!ABORT, f, sendSeq[x];
			sendSeq[x]++;
#ifndef ABORT_IS_NOT_LAST
			sendErr[x] = true; /* nothing follows an abort */
#endif
			sentAbort[x] = true
		}
		atomic { shut(false); failed[x] = true; finished[x] = finished[x] + n; taken = 0; forget() }
	:: atomic { !failing[x] && !MAYABORT ->
			failing[x] = true;
			shut(sendEnded[x] && !locked[x]);
			failed[x] = true;
			finished[x] = finished[x] + n;
			taken = 0; forget()
		}
	:: atomic { failing[x] -> finished[x] = finished[x] + n; taken = 0; forget() }
	fi
}

/* ---- portal.join: a goroutine each ---- */

/* From the application to the link: Flow.ReadFrom, then Flow.CloseWrite. */
proctype AppToStream(byte side; byte f) {
	byte x = AT(side, f), taken, k, kf, ks;
	bool bad;
end:	do
	:: atomic { hasReset[x] || failed[x] -> break } /* reading it is an error */
	:: atomic { !hasReset[x] && !failed[x] && taken < wrote[x] ->
			taken++;
			!locked[x] -> locked[x] = true;
			if
			:: sendErr[x] -> bad = true
			:: else ->
				transmit(DATA);
				if
				:: bad -> sendFailed()
				:: else
				fi
			fi;
			locked[x] = false;
			if
			:: bad -> break
			:: else
			fi
		}
	:: atomic { !hasReset[x] && !failed[x] && taken == wrote[x] && hasEnded[x] ->
			!locked[x] -> locked[x] = true;
			if
			:: sendErr[x] -> bad = true
			:: else ->
				transmit(END);
				if
				:: bad -> sendFailed()
				:: else -> sendEnded[x] = true; endDirection()
				fi
			fi;
			locked[x] = false;
			if
			:: bad -> break
			:: else -> goto done
			fi
		}
	od;
failed1:
	bad = false;
	fail(1);
	goto rest;
done:
#ifdef AWAIT
end1:	if /* netio.AwaitReset of the application */
	:: eof[x] -> skip
	:: hasReset[x] || failed[x] -> goto failed1
	fi;
#endif
	atomic { finished[x]++; taken = 0 }
rest:
	REST
}

#ifdef NO_NUMBERS
#define IN_ORDER true
#else
#define IN_ORDER (ks == recvSeq[x])
#endif
#ifdef ONE_KEY
#define OWN_KEY true
#else
#define OWN_KEY (kf == f)
#endif
#ifdef NO_TAG
#define AUTHENTIC (k != HELLO)
#else
#define AUTHENTIC (OWN_KEY && IN_ORDER && (k == DATA || k == END || k == ABORT))
#endif

/* From the link to the application: Flow.WriteTo, then the application's CloseWrite. */
proctype StreamToApp(byte side; byte f) {
	byte x = AT(side, f), taken, k, kf, ks;
end:	do
	:: atomic { receive(side);
			assert(k >= LINKEOF || owner[side] == f + 1); /* P5 */
#ifdef EOF_IS_END
			if
			:: k == LINKEOF -> k = END; kf = f; ks = recvSeq[x]
			:: else
			fi;
#endif
			if
			:: k >= LINKEOF -> shut(false); break /* ErrCut */
			:: k < LINKEOF && !AUTHENTIC -> break /* ErrForged; fail aborts */
			:: k < LINKEOF && AUTHENTIC && k == ABORT -> shut(false); break
			:: k < LINKEOF && AUTHENTIC && k == END ->
				gotEnd[x] = true;
				endDirection();
				goto ended1
			:: k < LINKEOF && AUTHENTIC && k != ABORT && k != END ->
				assert(k == DATA);          /* sealed by the other end */
				assert(kf == f);            /* P4 */
				assert(ks == recvSeq[x]);   /* P2: no gap, no repeat */
				recvSeq[x]++;
				forget();
				if
				:: failed[x] || hasReset[x] -> break
				:: !failed[x] && hasReset[x] -> skip /* it need not be noticed at once */
				:: !failed[x] && !hasReset[x] -> got[x]++
				fi
			fi
		}
	od;
failed1:
	fail(1);
	goto rest;
ended1:	atomic {
		if
		:: failed[x] || hasReset[x] -> skip /* not connected */
		:: else ->
			assert(hasEnded[PEER(x)]);        /* P1 */
			assert(got[x] == wrote[PEER(x)]); /* P2 */
			eof[x] = true
		fi;
		forget();
#ifndef AWAIT
		finished[x]++
#endif
	}
#ifdef AWAIT
end1:	if /* Flow.AwaitReset */
	:: life[x] == CLEAN -> skip
	:: life[x] == CLOSED || closed[side] || reset[side] -> goto failed1
	fi;
	finished[x]++;
#else
	goto rest;
#endif
rest:
	REST
}

/* A client or a service: some data, then an end, or nothing more for ever. With several flows, it has
 * no choice. */
#ifdef ONLY_MITM
#define SAYS(x) (x < FLOWS -> ITEMS : 0) /* the client's data will do */
#else
#define SAYS(x) ITEMS
#endif

proctype App(byte x) {
end:	do
#if FLOWS == 1
	:: atomic { wrote[x] < ITEMS && !failed[x] && !hasReset[x] -> wrote[x]++ }
	:: atomic { !mute[x / FLOWS] && !failed[x] && !hasReset[x] -> hasEnded[x] = true; break }
#else
	:: atomic { !failed[x] -> wrote[x] = SAYS(x); hasEnded[x] = true; break }
#endif
	od;
	REST
}

/* ---- the two nodes ---- */

/* Inlet.carry on one link: a connection, and when its flow has left the link clean, another one. */
proctype Inlet() {
	byte side = I, f, x, k, kf, ks;
	bool bad;
end:	do
	:: atomic { f == 0 || (f < FLOWS && idle) -> /* Session.Open */
			x = AT(I, f);
			if
			:: f > 0 ->
				idle = false;
				if /* netio.Quiet: a break may not have been seen yet */
				:: DEAD(I) || closed[I] || READABLE(I) || broken[O] || fin[O] -> bad = true
				:: !DEAD(I) && !closed[I] && !READABLE(I) -> skip
				fi
			:: else -> bad = DEAD(I)
			fi;
			if
			:: bad -> closeConn(I, false); break
			:: else ->
				tracked[I] = true;
				resting[I] = false;
				owner[I] = f + 1;
				started[x] = true;
				run App(x)
			fi
		}
		/* netio.WriteReady: the flow's hello and the opening message with one call */
		atomic {
			if
			:: closed[I] || broken[I] -> bad = true
			:: !closed[I] && broken[I] -> skip
			:: !closed[I] && !broken[I] && len(wire[I]) + 2 <= ROOM ->
				wire[I]!HELLO, f, 0;
				wire[I]!DATA, f, 0
			fi;
			sendSeq[x] = 1;
			if
			:: bad -> sendFailed(); failed[x] = true; finished[x] = 2; break
			:: else
			fi;
			run AppToStream(I, f);
			run StreamToApp(I, f);
			f++; x = 0
		}
	od;
	REST
}

/* Endpoint.serveFlows, with Outlet.Serve in it. */
proctype Outlet() {
	byte side = O, f, x, k, kf, ks;
	bool bad;
end:	do
	:: atomic { receive(O); /* link.nextFlow */
			tracked[O] = false; /* linkPool.forget */
			if
			:: k != HELLO -> break /* errNoHello, or the end of the link */
			:: else -> f = kf; x = AT(O, f); forget()
			fi
		}
		atomic { /* linkPool.adopt */
			if
			:: DEAD(O) -> break /* ErrUnknownSession */
			:: else -> tracked[O] = true; resting[O] = true; unauth = true
			fi
		}
end1:		atomic { receive(O); /* Flow.first */
			if
			:: !(k == DATA && kf == f && ks == 0) -> break /* ErrForged, or the end of the link */
			:: else
			fi;
#ifndef NO_FILTER
			if
			:: used[f] -> break /* ErrReplayed */
			:: else
			fi;
#endif
			assert(!used[f]); /* P4: a flow is served once, so no record of it a second time */
			used[f] = true;
			resting[O] = false;
			unauth = false;
			owner[O] = f + 1;
			recvSeq[x] = 1;
			started[x] = true;
			forget();
			run App(x);
			run AppToStream(O, f);
			run StreamToApp(O, f)
		}
end2:		atomic {
#ifdef SERVE_AFTER_ONE
			finished[x] >= 1;
			life[x] = CLEAN;
#else
			finished[x] == 2;
#endif
			if
			:: life[x] != CLEAN -> break
			:: else -> x = 0; f = 0
			fi
		}
	od;
	atomic { closeConn(O, false); tracked[O] = false; forget(); x = 0; f = 0 }
	REST
}

/* ---- what may befall them, at any time ---- */

/* With several flows, it strikes once both applications have ended the first one: before that, nothing
 * knows of a next. */
#if FLOWS == 1
#define STRIKE faults > 0
#else
#define STRIKE faults > 0 && sendEnded[AT(I, 0)] && sendEnded[AT(O, 0)]
#endif

/* The link breaks: all of it, or one direction ends that nobody has ended. */
proctype Cut() {
end:	do
	:: atomic { STRIKE && (!broken[I] || !broken[O]) ->
			faults--;
			if
			:: broken[I] = true; broken[O] = true; reset[I] = !closed[I]; reset[O] = !closed[O]
			:: broken[I] = true; broken[O] = true
			:: broken[I] = true
			:: broken[O] = true
			fi
		}
	od
}

/* life.end for a bad reason: the link is reset. */
inline die() {
	if
	:: !DEAD(side) ->
		session[side] = SESSION_CLOSING;
		if
		:: tracked[side] -> closeConn(side, true)
		:: else
		fi
	:: else
	fi
}

/* Session.end on both sides, one after the other. A black hole ends the session: pings are not
 * answered. */
proctype Death() {
	byte side;
end:	atomic {
		if
#ifndef ONLY_MITM
		:: STRIKE -> faults--
#endif
#ifndef UNNOTICED
		:: hole
#endif
		fi;
		if
		:: side = I
		:: side = O
		fi;
		die()
	}
	atomic { side = 1 - side; die(); side = 0 }
	REST
}

/* linkPool.closeLinks: gently where no flow is on the link. */
inline closeLinks(side) {
	if
	:: !tracked[side] -> skip
#ifndef RESET_RESTING
	:: tracked[side] && resting[side] -> closeGently(side)
	:: tracked[side] && !resting[side] -> closeConn(side, true)
#else
	:: tracked[side] -> closeConn(side, true)
#endif
	fi
}

/* life.end with ErrGoingAway: it drains if a flow is on the link. */
inline endWell(side) {
	if
#ifndef NO_DRAIN
	:: !DEAD(side) && BUSY(side) -> session[side] = SESSION_DRAINING; drained[side] = true
	:: !DEAD(side) && !BUSY(side) -> session[side] = SESSION_CLOSING; closeLinks(side)
#else
	:: !DEAD(side) -> drained[side] = BUSY(side); session[side] = SESSION_CLOSING; closeLinks(side)
#endif
	:: else
	fi
}

/*
 * A side goes away: it says so, and closes its sessions after a while, Endpoint.GoAway and Close. The
 * other side is told of that as well. Where that is the initiator, it does not wait for it if nothing
 * is left to do in the session, Session.awaitEnd.
 */
proctype GoAway() {
	byte side;
end:	atomic {
		STRIKE -> faults--;
		if
		:: side = I /* the responder has nothing to do before the end */
		:: side = O;
			if
			:: session[I] == SESSION_OPEN -> session[I] = SESSION_GOING_AWAY
			:: else
			fi
		fi
	}
	if
	:: atomic { session[I] == SESSION_GOING_AWAY && UNUSED ->
			endWell(I);
			assert(session[I] == SESSION_CLOSING); /* P6: it is not busy */
			side = O
		}
	:: atomic { !DEAD(side) -> session[side] = SESSION_CLOSING; closeLinks(side); side = 1 - side }
	:: atomic { DEAD(side) -> side = 1 - side }
	fi;
	atomic { endWell(side) }
end1:	atomic { /* Session.drain */
		(session[I] == SESSION_DRAINING && !BUSY(I)) || (session[O] == SESSION_DRAINING && !BUSY(O)) ->
			if
			:: session[I] == SESSION_DRAINING -> side = I
			:: else -> side = O
			fi;
			session[side] = SESSION_CLOSING;
			closeLinks(side);
			side = 0
	}
	REST
}

/* An application resets its connection, having ended it or not. */
#define MAYRESET(side) (started[AT(side, 0)] && !failed[AT(side, 0)] && !hasReset[AT(side, 0)])

proctype Reset() {
end:	do
	:: atomic { STRIKE && MAYRESET(I) -> hasReset[AT(I, 0)] = true; faults-- }
	:: atomic { STRIKE && MAYRESET(O) -> hasReset[AT(O, 0)] = true; faults-- }
	od
}

/* Somebody else resets the flow while it is carried, on either side. */
proctype Stop() {
	byte side, f, x, taken, k, kf, ks;
end:	atomic {
		if
		:: STRIKE && started[AT(I, 0)] && finished[AT(I, 0)] < 2 -> side = I
		:: STRIKE && started[AT(O, 0)] && finished[AT(O, 0)] < 2 -> side = O
		fi;
		x = AT(side, 0);
		faults--
	}
	fail(0);
	REST
}

/*
 * The man in the middle: swallows what comes next, or puts in front of it bytes of his own or anything
 * that either side has ever sent. Two of these make a flip, a swap, or a flow played again.
 */
proctype Mitm() {
	byte d, f, s;
end:	do
	:: atomic {
			if
			:: STRIKE && !broken[I] && forged[I] == NONE -> d = I
			:: STRIKE && !broken[O] && forged[O] == NONE -> d = O
			fi;
			if
			:: len(wire[d]) > 0 -> wire[d]?_, _, _; hole = true
			:: forged[d] = JUNK
			:: d == I && owner[I] > 0 ->
				select(f : 0 .. owner[I] - 1);
				forged[d] = HELLO; forgedFlow[d] = f
			:: sendSeq[AT(d, 0)] > 0 ->
				if
				:: f = 0
				:: sendSeq[AT(d, FLOWS - 1)] > 0 -> f = FLOWS - 1
				fi;
				select(s : 0 .. sendSeq[AT(d, f)] - 1);
				forgedFlow[d] = f; forgedSeq[d] = s;
				if
				:: s + 1 == sendSeq[AT(d, f)] && sendEnded[AT(d, f)] -> forged[d] = END
				:: s + 1 == sendSeq[AT(d, f)] && sentAbort[AT(d, f)] -> forged[d] = ABORT
				:: else -> forged[d] = DATA
				fi
			fi;
			faults--;
			d = 0; f = 0; s = 0
		}
	od
}

/* ---- P3: what must be true in the end ---- */

#define TOLD(x) (!started[x] || eof[x] || failed[x] || hasReset[x])
/* The other application is there and says nothing, all it said has arrived, and the way from there is
 * whole. */
#define WAITING(x) (started[PEER(x)] && life[x] == OPEN && life[PEER(x)] == OPEN && \
	!broken[PEER(x) / FLOWS] && !hole && !hasEnded[PEER(x)] && !hasReset[PEER(x)] && \
	got[x] == wrote[PEER(x)])
/* Where the session has ended, nobody holds on to a connection of it. */
#define LETGO(x) (!DEAD((x) / FLOWS) || !started[x] || failed[x] || hasReset[x] || \
	(eof[x] && hasEnded[x]))
/* Where the session drained, what the other side had ended well has arrived, unless that has begun another
 * flow on the link by then. */
#define ENDEDWELL(x) (life[x] == CLEAN && owner[(x) / FLOWS] == (x) % FLOWS + 1)
#define DELIVERED(x) (!drained[(x) / FLOWS] || !started[x] || !ENDEDWELL(PEER(x)) || eof[x])

proctype Judge() {
	byte x;
	atomic { timeout;
#ifdef REACH
	/* It must fail: the last flow can end well. */
	assert(!(eof[AT(I, FLOWS - 1)] && eof[AT(O, FLOWS - 1)]));
#endif
	do
	:: x < ENDS ->
		assert(TOLD(x) || WAITING(x)); /* P3 */
		assert(LETGO(x));              /* P3 */
		assert(DELIVERED(x));          /* P6 */
		x++
	:: else -> break
	od
	}
	REST
}

#ifdef LTL /* P3 again: a session's end ends everything, whatever else happens */
#define OVER(x) (TOLD(x) && LETGO(x))
ltl over { [] ((DEAD(I) && DEAD(O)) -> <> [] (OVER(AT(I, 0)) && OVER(AT(O, 0)))) }
#endif

init {
	atomic {
		select(faults : 0 .. FAULTS);
#if FLOWS == 1
		if
		:: true
		:: mute[I] = true
		:: mute[O] = true
		:: mute[I] = true; mute[O] = true
		fi;
#endif
		run Inlet();
		run Outlet();
#if FLOWS == 1 /* after any of these there is no next flow */
#ifndef LTL
		run Stop();
		run Reset();
#endif
#endif
#if !defined(ONLY_MITM) && !defined(LTL)
		run Cut();
#ifndef NO_GOAWAY /* for a mutation that breaks more than its own property */
		run GoAway();
#endif
#endif
		run Death();
#ifndef LTL
		run Mitm();
#endif
#ifndef LTL
		run Judge()
#endif
	}
}
