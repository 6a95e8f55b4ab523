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

/* ---- links ---- */

/* Close: to the other side the link ends somewhere in what is under way. */
inline closeLink(s, l) {
	if
	:: closed[ON(s, l)] -> skip
	:: else ->
		closed[ON(s, l)] = true;
		broken[ON(I, l)] = true;
		broken[ON(O, l)] = true;
		swallow(ON(1 - (s), l));
		if
		:: closed[ON(1 - (s), l)] -> dark[l] = false; tampered[l] = false
		:: else
		fi
	fi
}

inline swallow(w) {
	do
	:: len(wire[w]) > 0 -> wire[w]?_, _, _
	:: else -> break
	od
}

/* What goes into the dark, or to who has closed, is gone. */
inline put(l, what, n, e) {
	if
	:: dark[l] || broken[ON(side, l)] -> skip
	:: else -> wire[ON(side, l)]!what, n, e
	fi
}

#define ROOMY(l) (dark[l] || broken[ON(side, l)] || len(wire[ON(side, l)]) < ROOM)
#define READABLE(l) (!closed[ON(side, l)] && len(wire[ON(OTHER, l)]) > 0)
#define ENDS(l) (!closed[ON(side, l)] && broken[ON(OTHER, l)] && !dark[l])
/* Whoever waits in vain for an acknowledgement or an answer gives the link up. */
#define VAIN(l) (dark[l] || tampered[l])

/* ---- an end of the flow; side is the process's, and i, l, what, n, e are ---- */

#define LINKED (known[side] && link[side] > 0)
#define LINK (link[side] - 1)

inline forget() { l = 0; what = 0; n = 0; e = 0 }

/* The initiator's links, all but one. The responder has one at a time. */
inline closeAllBut(keep) {
	i = 0;
	do
	:: i < links ->
		if
		:: i + 1 != keep -> closeLink(I, i)
		:: else
		fi;
		i++
	:: else -> i = 0; break
	od
}

/* The flow's link is closed here, and with it any that an answer may come on. */
inline closeLinks() {
	if
	:: side == I -> closeAllBut(0); attempt = 0
	:: side == O && link[O] > 0 -> closeLink(O, link[O] - 1)
	:: else
	fi;
	link[side] = 0
}

inline dropAttempt() { closeLink(I, attempt - 1); attempt = 0 }

/* The end forgets the flow when it is of no use to anybody. The link is for other flows then. */
inline release() {
	if
	:: known[side] && OVER(side) && NEEDLESS(side) ->
		known[side] = false;
		if
		:: side == I && link[I] == 0 -> closeLinks()
		:: else
		fi
	:: else
	fi
}

inline tellError() {
	if
	:: told[side] == NOTHING && !hasReset[side] ->
#ifdef OVERTIME_IS_END
		told[side] = END;
		assert(gotEnd[side]) /* R2 */
#else
		told[side] = ERROR;
		assert(cause) /* R4 */
#endif
	:: else
	fi
}

#define TALKS(s) (alive[IN(side, s)] && alive[IN(OTHER, s)])

inline sayGone(s) {
#ifndef NO_GONE
	if
	:: TALKS(s) -> goneWire[IN(side, s)] = true
	:: else
	fi
#else
	skip
#endif
}

/* The flow is at its end here, and what was kept goes. */
inline giveUp(say) {
	if
	:: known[side] ->
		known[side] = false;
		if
		:: !OVER(side) -> tellError()
		:: else
		fi;
		if
		:: say -> sayGone(sessionAt[side])
		:: else
		fi;
		closeLinks()
	:: else
	fi
}

/* The link is lost, as far as this end can tell. */
inline lose() {
	closeLink(side, link[side] - 1);
	link[side] = 0;
	if
	:: unkept[side] -> giveUp(true)
#ifdef CLEAN_LOSS
	:: !unkept[side] && COMPLETE(side) -> known[side] = false
	:: !unkept[side] && !COMPLETE(side) -> sayLost()
#else
	:: else -> sayLost()
#endif
	fi
}

inline sayLost() {
#ifndef NO_LOST
	if
	:: side == O && TALKS(sessionAt[O]) -> lostWire[sessionAt[O]] = epoch[O] + 1
	:: else
	fi
#else
	skip
#endif
}

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
#else
		release()
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
	fi;
	release()
}

/* A record is what its number and its sender say. */
#define IS_END(n) (ended[OTHER] && (n) + 1 == sealed[OTHER])
#define IS_ABORT(n) (aborted[OTHER] && (n) + 1 == sealed[OTHER])

/* Link l has brought the next record. */
inline open() {
	assert(epochOf[l] >= stated[side]); /* R6 */
	position[side]++;
	if
	:: IS_ABORT(n) -> giveUp(false)
	:: IS_END(n) ->
		gotEnd[side] = true;
		if
		:: told[side] == NOTHING && !hasReset[side] ->
			assert(ended[OTHER]);                       /* R2 */
			assert(position[side] == wrote[OTHER] + 1); /* R2 */
			told[side] = END
		:: else
		fi;
		release()
	:: else
	fi
}

#define NEXT (what == RECORD && n == position[side])

/* What has come on the flow's link. */
inline receive() {
	l = link[side] - 1;
	wire[ON(OTHER, l)]?what, n, e;
	assert(NEXT || tampered[l]); /* R1: what is sent is what the other end lacks */
	if
	:: NEXT -> open()
	:: else -> lose()
	fi;
	forget()
}

/* It goes on where the other end stands. An acknowledgement may have overtaken an answer: of a record
 * that the man in the middle had from an earlier link. */
inline goOn() {
	if
	:: n < acked[side] -> n = acked[side]
	:: else
	fi;
	sent[side] = n;
#ifdef RESEND_LESS
	sent[side] = (acked[side] < sealed[side] -> acked[side] + 1 : sealed[side]);
#endif
#ifdef RESEND_MORE
	sent[side] = acked[side];
#endif
#ifdef END_NOT_KEPT
	sent[side] = (ended[side] && n + 1 == sealed[side] -> n + 1 : n);
#endif
#ifdef ABORT_NOT_KEPT
	sent[side] = (aborted[side] && n + 1 == sealed[side] -> n + 1 : n);
#endif
	acknowledged(n)
}

#ifdef OVERTAKEN
#define KEPT (!unkept[side] && n >= acked[side] && n <= sealed[side])
#else
#define KEPT (!unkept[side] && (side == I || n >= acked[side]) && n <= sealed[side])
#endif

/* ---- the initiator ---- */

inline connect() { /* a session */
	alive[IN(I, session)] = true;
	alive[IN(O, session)] = true
}

/* Another link. What the earlier ones bring is not opened any more. */
inline resume() {
	assert(links < LINKS);
	l = links;
	links++;
	epoch[I]++;
	sessionOf[l] = session;
	epochOf[l] = epoch[I];
	attempt = l + 1;
	sessionAt[I] = session;
#ifdef STATED_IS_SAID
	said[I] = position[I];
#endif
	stated[I] = epoch[I];
	put(l, RESUME, position[I], epoch[I]);
	forget()
}

inline answered(from) {
	l = from;
	wire[ON(O, l)]?what, n, e;
	if
	:: what == ANSWER && KEPT ->
		link[I] = l + 1;
		attempt = 0;
		said[I] = position[I]; /* not before: the attempt may have been in vain */
		closeAllBut(link[I]);
		goOn()
	:: what == GONE || (what == ANSWER && !KEPT) -> giveUp(what == ANSWER)
	:: else ->
		assert(tampered[l]);
		dropAttempt()
	fi;
	forget()
}

/* ---- the responder ---- */

#ifdef LOWER_EPOCH
#define NEWER true
#else
#define NEWER (e > epoch[O])
#endif

#if defined(FORGETS_POSITION)
#define STATED 0
#elif defined(STATES_LESS)
#define STATED (position[O] > 0 -> position[O] - 1 : 0)
#elif defined(STATES_MORE)
#define STATED (position[O] + 1)
#else
#define STATED position[O]
#endif

/* The first record of a link, after the replay filter. */
inline asked(from) {
	l = from;
	wire[ON(I, l)]?what, n, e;
	if
	:: what == RESUME && known[O] && NEWER && KEPT ->
		assert(e > epoch[O]); /* R6 */
#ifndef OLD_LINK
		if
		:: link[O] > 0 -> closeLink(O, link[O] - 1)
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
	:: what == RESUME && !(known[O] && NEWER && KEPT) ->
		put(l, GONE, 0, 0);
		closed[ON(O, l)] = true; /* gently: it arrives */
		broken[ON(I, l)] = true;
		if
		:: known[O] && NEWER -> giveUp(false) /* the initiator opens nothing of the old link */
		:: else
		fi
	:: else ->
		assert(tampered[l]);
		closeLink(O, l)
	fi;
	forget()
}

/* A link of which the responder has not read the first record. */
#define FRESH(l) ((l) < links && READABLE(l) && link[O] != (l) + 1)

/* ---- sessions ---- */

/* The session ends badly here: that is the loss of all its links. */
inline die(s) {
	alive[IN(side, s)] = false;
	ackWire[IN(OTHER, s)] = 0;
	goneWire[IN(OTHER, s)] = false;
	if
	:: side == I -> lostWire[s] = 0
	:: else
	fi;
#ifndef LINKS_STAY
	l = 0;
	do
	:: l < links ->
		if
		:: sessionOf[l] != s -> skip
		:: sessionOf[l] == s && link[side] == l + 1 -> lose()
		:: sessionOf[l] == s && link[side] != l + 1 ->
			closeLink(side, l);
			if
			:: side == I && attempt == l + 1 -> attempt = 0
			:: else
			fi
		fi;
		l++
	:: else -> l = 0; break
	od
#endif
}

/* acknowledge */
inline acknowledgement(s) {
	n = ackWire[IN(OTHER, s)];
	ackWire[IN(OTHER, s)] = 0;
	if
	:: known[side] -> acknowledged(n)
	:: else
	fi;
	forget()
}

#ifdef LOST_IGNORED
#define HEEDS (attempt == 0)
#else
#define HEEDS true
#endif

/* lost: the link of an epoch. What a later attempt has overtaken is not told from nothing. */
inline lostThere(s) {
	e = lostWire[s] - 1;
	lostWire[s] = 0;
	if
	:: !known[I] -> sayGone(s)
	:: known[I] && e == epoch[I] && link[I] > 0 -> lose()
	:: known[I] && e == epoch[I] && attempt > 0 && HEEDS -> dropAttempt()
	:: else
	fi;
	forget()
}

#define PENDING(s) \
	:: atomic { alive[IN(side, s)] && ackWire[IN(OTHER, s)] > 0 -> acknowledgement(s) } \
	:: atomic { alive[IN(side, s)] && goneWire[IN(OTHER, s)] -> \
			goneWire[IN(OTHER, s)] = false; giveUp(false) } \
	:: atomic { side == I && alive[IN(I, s)] && lostWire[s] > 0 -> lostThere(s) } \
	:: atomic { alive[IN(side, s)] && !alive[IN(OTHER, s)] -> die(s) }

/* ---- a side ---- */

/* The application is connected. */
#define APP (known[side] && told[side] != ERROR && !hasReset[side])
/* An application is read while what it says can be sent at once, or kept because there is no link. */
#define FREE(l) (link[side] == 0 || (sent[side] == sealed[side] && ROOMY(l)))
#define TRYING (side == I && attempt > 0)
#define SUSPENDED(side) (known[side] && link[side] == 0)
/* Also when the flow itself is forgotten. */
#ifdef NO_LAST_ACK
#define UNSAID (position[side] > said[side] && TALKS(sessionAt[side]) && known[side])
#else
#define UNSAID (position[side] > said[side] && TALKS(sessionAt[side]))
#endif
/* Nothing else can happen any more, and the far end may be out of reach, or have forgotten. */
#define OVERDUE(side) (SUSPENDED(side) && \
	(OVER(side) || (side == O && !alive[IN(O, sessionAt[O])])))

proctype Side(byte side) {
	byte i, l, what, n, e;
end:	do
	/* the application */
	:: atomic { APP && !ended[side] && FREE(LINK) && wrote[side] < ITEMS ->
			wrote[side]++;
			sealed[side]++;
			send() }
	:: atomic { APP && !ended[side] && FREE(LINK) && wrote[side] == ITEMS && !mute[side] ->
			ended[side] = true;
			sealed[side]++;
			send() }
	/* the link */
	:: atomic { LINKED && sent[side] < sealed[side] && ROOMY(LINK) -> send() }
	:: atomic { LINKED && READABLE(LINK) -> receive() }
	:: atomic { LINKED && ENDS(LINK) -> lose() }
	:: atomic { LINKED && VAIN(LINK) && acked[side] < sealed[side] -> lose() }
	/* another link */
	:: atomic { side == I && SUSPENDED(I) && attempt == 0 && TALKS(session) -> resume() }
	:: atomic { side == I && SUSPENDED(I) && attempt == 0 && !alive[IN(I, session)] ->
			session++; connect() }
	:: atomic { TRYING && READABLE(attempt - 1) -> answered(attempt - 1) }
	:: atomic { TRYING && ENDS(attempt - 1) -> dropAttempt() }
	:: atomic { TRYING && VAIN(attempt - 1) -> dropAttempt() }
#ifdef EARLIER_ANSWER
	:: atomic { TRYING && attempt > 1 && READABLE(attempt - 2) && wire[ON(O, attempt - 2)]?[ANSWER, _, _] ->
			answered(attempt - 2) }
#endif
#ifdef EARLIER_GONE
	:: atomic { TRYING && attempt > 1 && READABLE(attempt - 2) && wire[ON(O, attempt - 2)]?[GONE, _, _] ->
			answered(attempt - 2) }
#endif
#ifdef OLD_LINK
	:: atomic { side == O && link[O] > 1 && known[O] && READABLE(LINK - 1) ->
			l = LINK - 1;
			wire[ON(OTHER, l)]?what, n, e;
			if
			:: NEXT -> open()
			:: else
			fi;
			forget() }
#endif
	:: atomic { side == O && FRESH(1) -> asked(1) }
#if LINKS > 2
	:: atomic { side == O && FRESH(2) -> asked(2) }
#endif
#if LINKS > 3
	:: atomic { side == O && FRESH(3) -> asked(3) }
#endif
	/* the control links */
	:: atomic { UNSAID ->
			said[side] = position[side];
			ackWire[IN(side, sessionAt[side])] = position[side] }
	PENDING(0)
	PENDING(1)
#if SESSIONS > 2
	PENDING(2)
#endif
#if SESSIONS > 3
	PENDING(3)
#endif
	/* the time is over */
	:: atomic { timeout && OVERDUE(side) -> giveUp(true) }
	od
}

/* ---- what may befall them, at any time ---- */

#define STRIKE (faults > 0 && (known[I] || known[O]))
#define WHOLE(l) ((l) < links && !(broken[ON(I, l)] && broken[ON(O, l)]) && !dark[l])

inline cut(l) {
	if
	:: broken[ON(I, l)] = true; broken[ON(O, l)] = true
	:: !broken[ON(I, l)] -> broken[ON(I, l)] = true
	:: !broken[ON(O, l)] -> broken[ON(O, l)] = true
	:: dark[l] = true; swallow(ON(I, l)); swallow(ON(O, l))
	fi
}

/* The man in the middle swallows what comes next, or puts in front of it something of his own, or the
 * record that is wanted, which he has seen on this link or on another one. */
inline tamper(l) {
	if
	:: d = I
	:: d = O
	fi;
	tampered[l] = true;
	if
	:: len(wire[ON(d, l)]) > 0 -> wire[ON(d, l)]?_, _, _
	:: len(wire[ON(d, l)]) < ROOM -> what = JUNK
	:: len(wire[ON(d, l)]) < ROOM && position[1 - d] < shown[d] -> what = RECORD; n = position[1 - d]
	:: else
	fi;
	if
	:: what == 0 -> skip
	:: what > 0 && len(wire[ON(d, l)]) == 0 -> wire[ON(d, l)]!what, n, 0
	:: what > 0 && len(wire[ON(d, l)]) > 0 ->
		wire[ON(d, l)]?what2, n2, e2;
		wire[ON(d, l)]!what, n, 0;
		wire[ON(d, l)]!what2, n2, e2
	fi;
	d = 0; what = 0; n = 0; what2 = 0; n2 = 0; e2 = 0
}

#define LINKFAULTS(l) \
	:: atomic { STRIKE && WHOLE(l) -> faults--; cut(l) } \
	:: atomic { STRIKE && WHOLE(l) && !tampered[l] -> faults--; tamper(l) }

proctype Fate() {
	byte side, i, l, what, n, e, d, what2, n2, e2;
end:	do
	LINKFAULTS(0)
	LINKFAULTS(1)
#if LINKS > 2
	LINKFAULTS(2)
#endif
#if LINKS > 3
	LINKFAULTS(3)
#endif
	/* the initiator's newest session ends, on one side first */
	:: atomic { STRIKE && alive[IN(I, session)] && alive[IN(O, session)] ->
			faults--;
			if
			:: side = I
			:: side = O
			fi;
			die(session);
			side = 0 }
	/* the initiator tries another way, perhaps in another session, for whatever reason */
	:: atomic { STRIKE && known[I] && !unkept[I] && (link[I] > 0 || attempt > 0) ->
			faults--;
			link[I] = 0;
			attempt = 0;
			if
			:: session++; connect()
			:: skip
			fi }
	/* an application resets: nothing follows END, so after that no ABORT does */
	:: atomic { STRIKE ->
			faults--;
			if
			:: side = I
			:: side = O
			fi;
			if
			:: known[side] && told[side] != ERROR && !OVER(side) ->
				cause = true;
				hasReset[side] = true;
				if
				:: ended[side] -> giveUp(true)
				:: else -> aborted[side] = true; sealed[side]++
				fi
			:: else
			fi;
			side = 0 }
	/* the time to survive is over */
	:: atomic { STRIKE && (SUSPENDED(I) || SUSPENDED(O)) ->
			faults--;
			if
			:: SUSPENDED(I) -> side = I
			:: SUSPENDED(O) -> side = O
			fi;
			cause = true;
			giveUp(true);
			side = 0 }
	/* the memory for what is kept is full */
	:: atomic { STRIKE ->
			faults--;
			if
			:: known[I] -> side = I
			:: known[O] -> side = O
			fi;
			cause = true;
			unkept[side] = true;
			if
			:: link[side] == 0 -> giveUp(true)
			:: else -> release()
			fi;
			side = 0 }
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
#ifdef REACH
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
