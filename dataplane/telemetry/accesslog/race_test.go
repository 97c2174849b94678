//go:build race

package accesslog

// raceDetector says that sync.Pool drops things at random, as it does under the race detector.
const raceDetector = true
