//go:build race

package telemetry

// raceDetector says that sync.Pool drops things at random, as it does under the race detector.
const raceDetector = true
