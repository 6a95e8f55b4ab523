//go:build !race

package main_test

// raceDetector says whether the tests, and then the sp that they build, run under the race detector.
const raceDetector = false
