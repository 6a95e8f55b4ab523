//go:build !race

package test

// raceDetector says whether the tests, and then the sp that they build, run under the race
// detector.
const raceDetector = false
