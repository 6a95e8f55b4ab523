/*
 * One flow that outlives its links. An end of it seals what its application says, keeps what it has
 * sealed until that is acknowledged, and sends it on the link that the flow has. Links break, or go
 * dark, and the initiator resumes the flow on another one, if need be in another session. See
 * README.md.
 *
 * Nothing loops: applications act a bounded number of times, `faults` bounds what befalls them, and
 * each link but the first one answers to a fault. So every run ends, and what must happen in the end
 * is an assertion about the states in which nothing can happen any more (proctype Judge).
 *
 * A side is one process, and a step of it is what the code does under a lock or what nobody else can
 * see. What happens between an application and its flow is flow.pml's.
 */

#ifndef ITEMS
#define ITEMS 1 /* that an application may say */
#endif
#ifndef FAULTS
#define FAULTS 1
#endif
#ifndef ROOM
#define ROOM 2 /* records under way in one direction of a link; a writer waits for room */
#endif

#define I 0 /* the initiator's end of the flow */
#define O 1 /* the responder's */
#define OTHER (1 - side)

#define LINKS (FAULTS + 1)
#define SESSIONS (FAULTS + 1)
#define ON(side, link) ((side) * LINKS + (link))
#define IN(side, session) ((side) * SESSIONS + (session))

/* On a link. Records have the flow's own keys and are numbered, so each is what its number says. The
 * others have the keys of the link: they are good on no other link, and once. */
#define RECORD 1 /* number */
#define RESUME 2 /* position, epoch */
#define ANSWER 3 /* position, epoch */
#define GONE 4   /* abort 6 */
#define LATE 6   /* abort 4: the attempt had been given up before it came */
#define JUNK 5   /* what the man in the middle makes: a flip, an invention, something of another link */

#define NOTHING 0
#define END 1   /* the application was told that the other one has ended */
#define ERROR 2 /* it was reset */

/* Links, counted from 0; the variables below count them from 1. */
chan wire[2 * LINKS] = [ROOM] of { byte, byte, byte }; /* what, number or position, epoch */
byte links = 1;          /* that have been made */
byte sessionOf[LINKS];
byte epochOf[LINKS];     /* ghost */
bool closed[2 * LINKS];  /* the side has closed it */
bool broken[2 * LINKS];  /* what the side sends ends: any part of what is under way may still arrive */
bool dark[LINKS];        /* nothing arrives any more, and nobody is told */
bool tampered[LINKS];    /* the man in the middle has had his hands on it */

/* Sessions: their control links, which carry one of each kind at a time. */
bool alive[2 * SESSIONS];
byte session;                 /* the initiator's newest */
byte ackWire[2 * SESSIONS];   /* positions under way from the side: acknowledge */
byte lostWire[SESSIONS];      /* the responder's word that it has lost the link of an epoch, from 1 */
bool goneWire[2 * SESSIONS];  /* the side's word that it has no such flow */

/* The flow, each end. */
bool known[2];       /* the end has it still */
byte sealed[2];      /* records */
bool ended[2];       /* the last of them is END */
bool aborted[2];     /* the last of them is ABORT */
byte acked[2];       /* records that the other end has opened, and that are not kept any more */
byte sent[2];        /* records that were sent on the link, or before it */
byte position[2];    /* records opened */
byte said[2];        /* the position that the other end was told of */
bool gotEnd[2];
byte link[2];        /* the flow's, 0 if it has none */
byte epoch[2];       /* the initiator's last attempt, the highest the responder has taken */
byte attempt;        /* the initiator's last, a link of which no answer has come yet; 0 if none */
bool leaves;         /* the initiator wants another link, although it has one */
byte held;           /* that one, while an attempt to leave it is under way; 0 if none is */
byte sessionAt[2];   /* where the end talks of the flow: that of its link, or of the attempt */
bool unkept[2];      /* what was kept has been given up for the budget */
byte stated[2];      /* ghost: the highest epoch in which the end has stated its position */
byte shown[2];       /* ghost: records that the man in the middle has seen of the end */

/* Applications. */
byte wrote[2];
bool mute[2];        /* it never ends of itself */
bool hasReset[2];
byte told[2];

byte faults;
bool cause; /* ghost: there is a reason for an error */

/* All is said and heard, but it may not all have arrived. */
#define COMPLETE(side) (ended[side] && gotEnd[side])
/* The application has no more to do with it: the end lingers if it has the flow still. */
#define OVER(side) (COMPLETE(side) || aborted[side])

/* The other end has all of it. Also where nothing is kept the end waits for that, to say so if not. */
#if defined(NO_LINGER)
#define NEEDLESS(side) (sent[side] == sealed[side])
#elif defined(NO_LINGER_UNKEPT)
#define NEEDLESS(side) (acked[side] == sealed[side] || (unkept[side] && sent[side] == sealed[side]))
#else
#define NEEDLESS(side) (acked[side] == sealed[side])
#endif

/* ---- links; side is the process's ---- */

#define ROOMY(l) (dark[l] || broken[ON(side, l)] || len(wire[ON(side, l)]) < ROOM)
#define READABLE(l) (!closed[ON(side, l)] && len(wire[ON(OTHER, l)]) > 0)
#define ENDS(l) (!closed[ON(side, l)] && broken[ON(OTHER, l)] && !dark[l])
/* Whoever waits in vain for an acknowledgement or an answer gives the link up. */
#define VAIN(l) (dark[l] || tampered[l])

inline swallow(w) {
	do
	:: len(wire[w]) > 0 -> wire[w]?_, _, _
	:: else -> break
	od
}

/* Close: to the other side the link ends somewhere in what is under way. */
inline closeLink(l) {
	if
	:: closed[ON(side, l)]
	:: else ->
		closed[ON(side, l)] = true;
		broken[ON(I, l)] = true;
		broken[ON(O, l)] = true;
		swallow(ON(OTHER, l));
		if
		:: closed[ON(OTHER, l)] -> dark[l] = false; tampered[l] = false
		:: else
		fi
	fi
}

/* The initiator's links, all but one. The responder has one at a time. */
inline closeAllBut(keep) {
	i = 0;
	do
	:: i < links ->
		if
		:: i + 1 != keep -> closeLink(i)
		:: else
		fi;
		i++
	:: else -> i = 0; break
	od
}

/* What goes into the dark, or to who has closed, is gone. */
inline put(l, what, n, e) {
	if
	:: dark[l] || broken[ON(side, l)]
	:: else -> wire[ON(side, l)]!what, n, e
	fi
}

/* ---- an end of the flow ---- */

#define LINKED (known[side] && link[side] > 0)
#define LINK (link[side] - 1)
#define SUSPENDED(side) (known[side] && link[side] == 0)
#define TRYING (side == I && attempt > 0)
#define TALKS(s) (alive[IN(side, s)] && alive[IN(OTHER, s)])

/* The next record that the other end lacks. */
inline send() {
	if
	:: LINKED ->
		put(LINK, RECORD, sent[side], 0);
		sent[side]++;
		if
		:: sent[side] > shown[side] -> shown[side] = sent[side]
		:: else
		fi;
#ifdef FREE_SENT
		acknowledged(sent[side])
#endif
	:: else
	fi
}

/* The other end has opened so many records. */
inline acknowledged(count) {
	assert(count <= sealed[side]); /* R1: otherwise the session ends */
	if
	:: count > acked[side] ->
		acked[side] = count;
		assert(count <= position[OTHER]) /* R5 */
	:: else
	fi
}

/* A record is what its number and its sender say. */
#ifdef UNNUMBERED
#define NEXT (what == RECORD)
#else
#define NEXT (what == RECORD && n == position[side])
#endif
#define IS_END (ended[OTHER] && n + 1 == sealed[OTHER])
#define IS_ABORT (aborted[OTHER] && n + 1 == sealed[OTHER])

/* Link l has brought the next record. */
inline open() {
	assert(epochOf[l] >= stated[side]); /* R6 */
	assert(n == position[side]);        /* R1 */
	position[side]++;
	if
	:: IS_ABORT -> ending = true
	:: IS_END ->
		gotEnd[side] = true;
		if
		:: told[side] == NOTHING && !hasReset[side] ->
			assert(ended[OTHER]);                       /* R2 */
			assert(position[side] == wrote[OTHER] + 1); /* R2 */
			told[side] = END
		:: else
		fi
	:: else
	fi
}

/* What has come on the flow's link. */
inline receive() {
	l = LINK;
	wire[ON(OTHER, l)]?what, n, e;
	assert(NEXT || tampered[l]); /* R1: what is sent is what the other end lacks */
	if
	:: NEXT -> open()
	:: else -> losing = true
	fi
}

/* It goes on where the other end stands. An acknowledgement may have overtaken the answer: of a record
 * that the man in the middle had from an earlier link. */
inline goOn() {
	if
	:: n < acked[side] -> n = acked[side]
	:: else
	fi;
	acknowledged(n);
#if defined(RESEND_LESS)
	sent[side] = (acked[side] < sealed[side] -> acked[side] + 1 : sealed[side])
#elif defined(RESEND_MORE)
	sent[side] = (acked[side] > 0 -> acked[side] - 1 : 0)
#elif defined(END_NOT_KEPT)
	sent[side] = (ended[side] && n + 1 == sealed[side] -> n + 1 : n)
#elif defined(ABORT_NOT_KEPT)
	sent[side] = (aborted[side] && n + 1 == sealed[side] -> n + 1 : n)
#else
	sent[side] = n
#endif
}

/* Position n is one that this end can go on from. */
#if defined(OVERTAKEN)
#define HELD (!unkept[side] && n >= acked[side] && n <= sealed[side])
#else
#define HELD (!unkept[side] && (side == I || n >= acked[side]) && n <= sealed[side])
#endif

/* ---- the initiator ---- */

inline connect() { /* a session */
	alive[IN(I, session)] = true;
	alive[IN(O, session)] = true
}

/* The initiator stays on the link that it was about to leave. */
inline stay() {
	if
	:: held > 0 ->
		link[I] = held;
		sessionAt[I] = sessionOf[held - 1];
		stated[I] = epochOf[held - 1];
		said[I] = 0; /* what the attempt said may not have come */
		held = 0
	:: else
	fi
}

inline dropAttempt() { closeLink(attempt - 1); attempt = 0; stay() }

/* Another link. What the earlier ones bring is not opened any more. */
inline resume() {
	assert(links < LINKS); /* R8 */
	l = links;
	links++;
	epoch[I]++;
	sessionOf[l] = session;
	epochOf[l] = epoch[I];
	attempt = l + 1;
	sessionAt[I] = session;
	stated[I] = epoch[I];
	said[I] = position[I];
	put(l, RESUME, position[I], epoch[I])
}

/* What has come on link l, that of the attempt. */
inline answered() {
	wire[ON(O, l)]?what, n, e;
	if
	:: what == ANSWER && HELD ->
		link[I] = l + 1;
		attempt = 0;
		leaves = false;
		held = 0;
		closeAllBut(link[I]);
		goOn()
	:: what == GONE -> ending = true
	:: what == ANSWER && !HELD -> ending = true; saying = true
	:: else ->
		assert(tampered[l]);
		dropAttempt()
	fi
}

/* ---- the responder ---- */

#if defined(LOWER_EPOCH)
#define NEWER true
#else
#define NEWER (e > epoch[O])
#endif

#if defined(FORGETS_POSITION)
#define STATED 0
#elif defined(STATES_LESS)
#define STATED (position[O] - (position[O] > 0))
#elif defined(STATES_MORE)
#define STATED (position[O] + 1)
#else
#define STATED position[O]
#endif

/* More has been acknowledged since the initiator stood there. */
#if defined(LATE_IS_GONE)
#define PAST false
#else
#define PAST (!unkept[side] && n < acked[side])
#endif

/* A link of which the responder has not read the first record. */
#define FRESH(l) ((l) < links && READABLE(l) && link[O] != (l) + 1)

/* The first record of link l, after the replay filter. */
inline asked() {
	wire[ON(I, l)]?what, n, e;
	if
	:: what == RESUME && known[O] && NEWER && HELD ->
		assert(e > epoch[O]); /* R6 */
#ifndef OLD_LINK_RESPONDER
		if
		:: link[O] > 0 -> closeLink(LINK)
		:: else
		fi;
#endif
		link[O] = l + 1;
		epoch[O] = e;
		sessionAt[O] = sessionOf[l];
		said[O] = position[O];
		stated[O] = e;
		put(l, ANSWER, STATED, e);
		goOn()
	:: what == RESUME && known[O] && PAST ->
		put(l, LATE, 0, 0);
		closed[ON(O, l)] = true;
		broken[ON(I, l)] = true
	:: what == RESUME && !(known[O] && ((NEWER && HELD) || PAST)) ->
		put(l, GONE, 0, 0);
		closed[ON(O, l)] = true; /* gently: it arrives */
		broken[ON(I, l)] = true;
		ending = NEWER /* the initiator opens nothing more of the old link */
	:: else ->
		assert(tampered[l]);
		closeLink(l)
	fi
}

/* ---- sessions ---- */

/* Session s ends badly here: that is the loss of all its links. */
inline die() {
	alive[IN(side, s)] = false;
	ackWire[IN(OTHER, s)] = 0;
	goneWire[IN(OTHER, s)] = false;
	if
	:: side == I -> lostWire[s] = 0
	:: else
	fi;
#ifndef LINKS_STAY
	do
	:: l < links ->
		if
		:: sessionOf[l] == s && link[side] == l + 1 -> losing = known[side]
		:: sessionOf[l] == s && link[side] != l + 1 ->
			closeLink(l);
			if
			:: side == I && attempt == l + 1 -> attempt = 0
			:: side == I && held == l + 1 -> held = 0
			:: else
			fi
		:: else
		fi;
		l++
	:: else -> break
	od;
	if
	:: side == I && attempt == 0 -> stay()
	:: else
	fi
#endif
}

#define HEARS(s) (alive[IN(side, s)] && (ackWire[IN(OTHER, s)] > 0 || goneWire[IN(OTHER, s)] || \
	(side == I && lostWire[s] > 0) || !alive[IN(OTHER, s)]))

#ifdef LOST_WITHOUT_EPOCH
#define LATEST true
#else
#define LATEST (e == epoch[I])
#endif
#ifdef LOST_IGNORED
#define HEEDS (attempt == 0)
#else
#define HEEDS true
#endif

/* What the control link of session s has brought, or that the other side has ended it. */
inline hear() {
	if
	:: ackWire[IN(OTHER, s)] > 0 ->
		n = ackWire[IN(OTHER, s)];
		ackWire[IN(OTHER, s)] = 0;
		if
		:: known[side] -> acknowledged(n)
		:: else
		fi
	:: goneWire[IN(OTHER, s)] ->
		goneWire[IN(OTHER, s)] = false;
		ending = true
	:: side == I && lostWire[s] > 0 ->
		e = lostWire[s] - 1;
		lostWire[s] = 0;
		if
		:: !known[I] -> sayGone()
		:: known[I] && LATEST && link[I] > 0 -> losing = true
		:: known[I] && LATEST && attempt > 0 && HEEDS -> dropAttempt()
		:: else /* a later attempt has overtaken it */
		fi
	:: !alive[IN(OTHER, s)] -> die()
	fi
}

inline sayGone() {
#ifndef NO_GONE
	if
	:: TALKS(s) -> goneWire[IN(side, s)] = true
	:: else
	fi
#endif
	skip
}

inline sayLost() {
#ifndef NO_LOST
	if
	:: side == O && TALKS(sessionAt[O]) -> lostWire[sessionAt[O]] = epoch[O] + 1
	:: else
	fi
#endif
	skip
}

/* ---- what comes of a step ---- */

/* The link is lost, as far as this end can tell. */
inline lose() {
	closeLink(LINK);
	link[side] = 0;
	if
	:: unkept[side] -> ending = true; saying = true
#ifdef CLEAN_LOSS
	:: !unkept[side] && COMPLETE(side) -> known[side] = false
#endif
	:: else -> sayLost()
	fi
}

/* The flow is at its end here, and what was kept goes. */
inline giveUp() {
	if
	:: !OVER(side) && told[side] == NOTHING ->
#ifdef OVERTIME_IS_END
		told[side] = END;
		assert(gotEnd[side]) /* R2 */
#else
		told[side] = ERROR;
		assert(cause) /* R4 */
#endif
	:: else
	fi;
	if
	:: saying -> s = sessionAt[side]; sayGone()
	:: else
	fi;
	known[side] = false
}

/* The end forgets the flow when it is of no use to anybody. After END both ways the link is for other
 * flows. */
inline conclude() {
	if
	:: losing -> lose()
	:: else
	fi;
	ending = ending && known[side];
	if
	:: ending && known[side] -> giveUp()
	:: !ending && known[side] && OVER(side) && NEEDLESS(side) -> known[side] = false
	:: else
	fi;
	if
	:: known[side] || (!ending && link[side] > 0)
	:: side == I && !known[I] && (ending || link[I] == 0) ->
		closeAllBut(0);
		attempt = 0;
		held = 0;
		link[I] = 0
	:: side == O && !known[O] && (ending || link[O] == 0) ->
		if
		:: link[O] > 0 -> closeLink(LINK)
		:: else
		fi;
		link[O] = 0
	fi;
	i = 0; l = 0; s = 0; what = 0; n = 0; e = 0;
	losing = false; ending = false; saying = false
}

/* ---- a side ---- */

/* An application that is connected is read while what it says can be sent at once, or kept because
 * there is no link. */
#define APP (known[side] && told[side] != ERROR && !hasReset[side])
#define SAYS (APP && !ended[side] && \
	(link[side] == 0 || (sent[side] == sealed[side] && ROOMY(LINK))))
#ifdef NO_LAST_ACK
#define UNSAID (position[side] > said[side] && TALKS(sessionAt[side]) && known[side])
#else
#define UNSAID (position[side] > said[side] && TALKS(sessionAt[side]))
#endif
#define STRIKE (faults > 0 && (known[I] || known[O]))
/* Nothing else can happen any more, and the far end may be out of reach, or have forgotten. */
#define OVERDUE(side) (SUSPENDED(side) && \
	(OVER(side) || (side == O && !alive[IN(O, sessionAt[O])])))

proctype Side(byte side) {
	byte i, l, s, what, n, e;
	bool losing, ending, saying;
end:	do
	:: atomic {
		if
		/* the application */
		:: SAYS && wrote[side] < ITEMS -> wrote[side]++; sealed[side]++; send()
		:: SAYS && wrote[side] == ITEMS && !mute[side] -> ended[side] = true; sealed[side]++; send()
		/* the link */
		:: LINKED && sent[side] < sealed[side] && ROOMY(LINK) -> send()
		:: LINKED && READABLE(LINK) -> receive()
		:: LINKED && (ENDS(LINK) || (VAIN(LINK) && acked[side] < sealed[side])) -> losing = true
		/* another link */
		:: side == I && SUSPENDED(I) && attempt == 0 && TALKS(session) -> resume()
		:: side == I && SUSPENDED(I) && attempt == 0 && !alive[IN(I, session)] -> session++; connect()
		:: side == I && leaves && LINKED && attempt == 0 && TALKS(session) ->
			held = link[I];
			link[I] = 0;
			resume()
		:: TRYING && READABLE(attempt - 1) -> l = attempt - 1; answered()
		:: TRYING && (ENDS(attempt - 1) || VAIN(attempt - 1)) -> dropAttempt()
		:: side == O && FRESH(1) -> l = 1; asked()
#if LINKS > 2
		:: side == O && FRESH(2) -> l = 2; asked()
#endif
		/* the control links */
		:: UNSAID ->
			said[side] = position[side];
			ackWire[IN(side, sessionAt[side])] = position[side]
		:: HEARS(0) -> s = 0; hear()
		:: HEARS(1) -> s = 1; hear()
#if SESSIONS > 2
		:: HEARS(2) -> s = 2; hear()
#endif
		/* the time is over */
		:: timeout && OVERDUE(side) -> ending = true; saying = true
		/* and what may befall it: the newest session ends here */
		:: STRIKE && TALKS(session) -> faults--; s = session; die()
#ifdef MOVES
		/* no answer in time, which may be under way */
		:: STRIKE && TRYING && held > 0 -> faults--; dropAttempt()
#else
		/* the time is over, at any time */
		:: STRIKE && SUSPENDED(side) ->
			faults--; cause = true; ending = true; saying = true
		/* the memory for what is kept is full */
		:: STRIKE && known[side] && !unkept[side] ->
			faults--; cause = true; unkept[side] = true;
			ending = (link[side] == 0); saying = true
		/* the application resets; nothing follows END, so after that no ABORT does */
		:: STRIKE && APP && !OVER(side) ->
			faults--; cause = true; hasReset[side] = true;
			if
			:: ended[side] -> ending = true; saying = true
			:: else -> aborted[side] = true; sealed[side]++
			fi
#endif
#ifdef EARLIER_ANSWER
		:: TRYING && attempt > 1 && READABLE(attempt - 2) && wire[ON(O, attempt - 2)]?[ANSWER, _, _] ->
			l = attempt - 2; answered()
#endif
#ifdef EARLIER_GONE
		:: TRYING && attempt > 1 && READABLE(attempt - 2) && wire[ON(O, attempt - 2)]?[GONE, _, _] ->
			l = attempt - 2; answered()
#endif
#ifdef OLD_LINK
		:: TRYING && attempt > 1 && READABLE(attempt - 2) ->
			l = attempt - 2;
			wire[ON(OTHER, l)]?what, n, e;
			if
			:: NEXT -> open()
			:: else
			fi
#endif
#ifdef OPENS_HELD
		:: TRYING && held > 0 && READABLE(held - 1) ->
			l = held - 1;
			wire[ON(OTHER, l)]?what, n, e;
			if
			:: NEXT -> open()
			:: else
			fi
#endif
#ifdef OLD_LINK_RESPONDER
		:: side == O && LINKED && LINK > 0 && READABLE(LINK - 1) ->
			l = LINK - 1;
			wire[ON(OTHER, l)]?what, n, e;
			if
			:: NEXT -> open()
			:: else
			fi
#endif
		fi;
		conclude()
		}
	od
}

/* ---- what may befall the links, at any time ---- */

#define WHOLE(l) ((l) < links && !(broken[ON(I, l)] && broken[ON(O, l)]) && !dark[l])

/* Link l ends, both ways or one, or goes dark, with what is under way or after it. */
inline cut() {
	if
	:: broken[ON(I, l)] = true; broken[ON(O, l)] = true
	:: !broken[ON(I, l)] -> broken[ON(I, l)] = true
	:: !broken[ON(O, l)] -> broken[ON(O, l)] = true
	:: dark[l] = true
	:: dark[l] = true; swallow(ON(I, l)); swallow(ON(O, l))
	fi
}

/* The man in the middle swallows what comes next, or puts in front of it something of his own, or the
 * record that is wanted, which he has seen on this link or on another one. */
inline tamper() {
	if
	:: d = I
	:: d = O
	fi;
	tampered[l] = true;
	if
	:: len(wire[ON(d, l)]) > 0 -> wire[ON(d, l)]?_, _, _
	:: len(wire[ON(d, l)]) < ROOM -> what = JUNK
	:: len(wire[ON(d, l)]) < ROOM && position[1 - d] < shown[d] -> what = RECORD; n = position[1 - d]
	fi;
	if
	:: what > 0 && len(wire[ON(d, l)]) == 0 -> wire[ON(d, l)]!what, n, 0
	:: what > 0 && len(wire[ON(d, l)]) > 0 ->
		wire[ON(d, l)]?what2, n2, e2;
		wire[ON(d, l)]!what, n, 0;
		wire[ON(d, l)]!what2, n2, e2
	:: else
	fi;
	d = 0; what = 0; n = 0; what2 = 0; n2 = 0; e2 = 0
}

proctype Fate() {
	byte l, what, n, d, what2, n2, e2;
end:	do
	:: atomic { STRIKE && (WHOLE(0) || WHOLE(1) || WHOLE(LINKS - 1)) ->
			faults--;
			if
			:: WHOLE(0) -> l = 0
			:: WHOLE(1) -> l = 1
#if LINKS > 2
			:: WHOLE(2) -> l = 2
#endif
			fi;
			if
			:: cut()
#ifndef MOVES
			:: !tampered[l] -> tamper()
#endif
			fi;
			l = 0 }
	/* the initiator tries another way, perhaps in another session, for whatever reason */
	:: atomic { STRIKE && known[I] && !unkept[I] && (link[I] > 0 || attempt > 0) ->
			faults--;
			if
			:: link[I] = 0; attempt = 0; held = 0
#ifdef MOVES
			:: link[I] > 0 -> leaves = true
#endif
			fi;
			if
			:: session++; connect()
			:: skip
			fi }
	od
}

/* ---- what must be true in the end ---- */

#define TOLD(x) (told[x] != NOTHING || hasReset[x])
/* The other application is there and says nothing, and all it said has arrived. */
#define WAITING(x) (known[x] && known[1 - (x)] && link[x] > 0 && link[1 - (x)] > 0 && \
	mute[1 - (x)] && !OVER(1 - (x)) && !ended[1 - (x)] && position[x] == sealed[1 - (x)])

proctype Judge() {
	byte x;
	atomic { timeout && !OVERDUE(I) && !OVERDUE(O);
#ifdef RESUMED
	/* It must fail: a flow can be resumed after each fault and end well. */
	assert(!(told[I] == END && told[O] == END && epoch[O] == FAULTS && !known[I] && !known[O]));
#endif
	do
	:: x < 2 ->
		assert(TOLD(x) || WAITING(x));                                /* R3 */
		assert(!known[x] || WAITING(x) || WAITING(1 - x));            /* R7 */
		assert(!known[x] || acked[x] == sealed[x]);                   /* R7 */
		x++
	:: else -> break
	od
	}
end_rest: false
}

init {
	atomic {
		select(faults : 0 .. FAULTS);
		if
		:: true
		:: mute[I] = true
		:: mute[O] = true
		:: mute[I] = true; mute[O] = true
		fi;
		connect();
		known[I] = true;
		known[O] = true;
		link[I] = 1;
		link[O] = 1;
		run Side(I);
		run Side(O);
		run Fate();
		run Judge()
	}
}
