package report

// The metrics, by name. X says what they were measured at.
const (
	// X is the number of streams.
	CPUUp    = "cpu.up"        // CPU seconds per GiB, client to service
	CPUDown  = "cpu.down"      // … and back
	UserUp   = "cpu.user.up"   // the part of it outside the kernel
	UserDown = "cpu.user.down" // … and back
	GbitUp   = "gbit.up"       // Gbit/s
	GbitDown = "gbit.down"

	// X is the percentile, in thousandths.
	Trip         = "trip"          // µs for 1 KiB there and back
	TripBesideUp = "trip.besideup" // … while another connection uploads
	TripBesideDn = "trip.besidedown"

	// X is the number of connections at once.
	ConnRate = "conn.rate" // new connections a second
	ConnCPU  = "conn.cpu"  // CPU ms each

	// X is the number of idle connections.
	IdleRSS  = "idle.rss"  // KiB each
	IdlePSS  = "idle.pss"  // KiB each, shared pages shared out
	IdleLost = "idle.lost" // that no longer answered
	IdleTrip = "idle.trip" // median µs for 1 KiB there and back beside them
	IdleConn = "idle.conn" // CPU ms to open one more

	// X is 1 stream, over 1 Gbit/s and 100 ms there and back.
	FarUp   = "far.up" // Gbit/s
	FarDown = "far.down"

	// How cost grows. X is the size of a write, or the number of hops between
	// the ends, or of channels inside the first.
	SizeCPU  = "size.cpu"  // CPU µs per write
	SizeGbit = "size.gbit" // Gbit/s
	HopCPU   = "hops.cpu"  // CPU seconds per GiB, both directions
	HopGbit  = "hops.gbit"
	HopTrip  = "hops.trip" // median µs
	HopConn  = "hops.conn" // new connections a second, one at a time
	NestCPU  = "nested.cpu"
	NestGbit = "nested.gbit"
	NestTrip = "nested.trip"
	NestConn = "nested.conn"
)

// Percentiles that are reported, in thousandths.
const (
	P50  = 500
	P99  = 990
	P999 = 999
)
