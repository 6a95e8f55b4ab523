// Package faultnet is a laboratory for network faults: a link between two
// connections that delays, throttles, swallows, cuts, resets, damages, drops,
// repeats and reorders what crosses it, exactly where it was told to.
//
// Which function you want:
//
//   - [Pipe]: a clean in-process pair of conns for unit tests. It behaves like
//     a TCP loopback pair (half-close, deadlines, back-pressure, ECONNRESET,
//     EPIPE), starts no goroutine and works inside testing/synctest.
//   - [FaultyPipe]: the same pair with a [Link] in the middle.
//   - [Proxy]: a TCP proxy with a [Link] for each connection, to put in front
//     of another process.
//   - [Join]: a [Link] between two conns you already have.
//
// What a link does is a [Plan], a list of [Fault] values. A plan is written by
// hand for a man in the middle ("flip message 3 towards the server"), or made
// by [RandomPlan] from a seed. [Seeds] gives a test its seeds, prints them, and
// takes them back from the environment for a replay; [Plan.String] and
// [ParsePlan] do the same for the plan itself.
//
// # What a seed promises
//
// Each direction of a link has its own place to count from, and a fault hits a
// byte or a message of its own direction. How the bytes were grouped into
// writes makes no difference. So the same plan and the same bytes give the same
// damage, always. What is left to time is how far the *other* direction had got
// when a fault ended both; inside testing/synctest that is fixed too.
//
// # One direction of a link
//
//	        pump goroutine                              drain goroutine
//	src ──▶ message faults ──▶ byte faults ──▶ pacer ──▶ queue ──▶ wait ──▶ dst
//	        (needs a Splitter)                 rate,     bytes     until
//	                                           due time  in flight due
//
// The queue is a delay line: each piece carries the time at which it is due, so
// bandwidth × delay bytes are on their way at once, and a round trip costs a
// round trip and not one for each write. It is bounded; when it is full the
// pump stops reading, and the sender feels it.
//
// The end of a direction travels down the same queue behind the data:
//
//	         fin                    rst
//	open ───────────▶ half-closed ───────▶ reset
//	  │  rst                                ▲
//	  ├─────────────────────────────────────┘
//	  │  mute
//	  └───────▶ silent    (nothing more is said to dst, not even an end)
//
// A link is over when both directions were ended towards their destination and
// both sources have ended too, or when it is closed.
package faultnet
