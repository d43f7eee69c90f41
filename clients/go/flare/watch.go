package flare

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "flare.example/go/gen/flare/common/v1"
	mlv1 "flare.example/go/gen/flare/ml/v1"
	scraperv1 "flare.example/go/gen/flare/scraper/v1"
)

// watching is how a watch keeps itself attached.
type watching struct {
	silence      time.Duration // without a message for so long, a stream is taken for dead; servers send a heartbeat each 15 s
	firstBackoff time.Duration // the longest wait before the first re-attachment; it doubles with each one in vain
	lastBackoff  time.Duration
	patience     time.Duration // gives up after so long in vain
}

var defaultWatching = watching{
	silence: 45 * time.Second, firstBackoff: 200 * time.Millisecond, lastBackoff: 10 * time.Second,
	patience: 10 * time.Minute,
}

// TrainingWatch follows a training job.
type TrainingWatch = Watch[*mlv1.TrainingJob, *mlv1.TrainingEvent]

// SweepWatch follows a sweep.
type SweepWatch = Watch[*mlv1.Sweep, *mlv1.SweepEvent]

// BatchPredictionWatch follows a batch prediction.
type BatchPredictionWatch = Watch[*mlv1.BatchPrediction, *mlv1.BatchPredictionEvent]

// ImportWatch follows an import job.
type ImportWatch = Watch[*scraperv1.ImportJob, *scraperv1.ImportEvent]

// WatchTrainingJob follows the events of `trainingJobs/{training_job}` after a sequence; 0 for all of them. The watch ends
// with its context; the job goes on.
func (c *Client) WatchTrainingJob(ctx context.Context, name string, afterSequence int64) *TrainingWatch {
	open := func(ctx context.Context, after int64) (receiver[*mlv1.TrainingJob, *mlv1.TrainingEvent], error) {
		request := &mlv1.WatchTrainingJobRequest{Name: name, AfterSequence: after}
		stream, err := c.Training.WatchTrainingJob(ctx, request)
		return func() (*mlv1.TrainingJob, *mlv1.TrainingEvent, error) {
			reply, err := stream.Recv()
			return reply.GetSnapshot(), reply.GetEvent(), err
		}, err
	}
	return newWatch(ctx, name, afterSequence, c.watching, open)
}

// WatchSweep follows the events of `sweeps/{sweep}` after a sequence; 0 for all of them. The watch ends with its context;
// the sweep goes on.
func (c *Client) WatchSweep(ctx context.Context, name string, afterSequence int64) *SweepWatch {
	open := func(ctx context.Context, after int64) (receiver[*mlv1.Sweep, *mlv1.SweepEvent], error) {
		stream, err := c.Sweeps.WatchSweep(ctx, &mlv1.WatchSweepRequest{Name: name, AfterSequence: after})
		return func() (*mlv1.Sweep, *mlv1.SweepEvent, error) {
			reply, err := stream.Recv()
			return reply.GetSnapshot(), reply.GetEvent(), err
		}, err
	}
	return newWatch(ctx, name, afterSequence, c.watching, open)
}

// WatchBatchPrediction follows the events of `batchPredictions/{batch_prediction}` after a sequence; 0 for all of them. The
// watch ends with its context; the job goes on.
func (c *Client) WatchBatchPrediction(ctx context.Context, name string, afterSequence int64) *BatchPredictionWatch {
	open := func(ctx context.Context, after int64) (receiver[*mlv1.BatchPrediction, *mlv1.BatchPredictionEvent], error) {
		request := &mlv1.WatchBatchPredictionRequest{Name: name, AfterSequence: after}
		stream, err := c.BatchPredictions.WatchBatchPrediction(ctx, request)
		return func() (*mlv1.BatchPrediction, *mlv1.BatchPredictionEvent, error) {
			reply, err := stream.Recv()
			return reply.GetSnapshot(), reply.GetEvent(), err
		}, err
	}
	return newWatch(ctx, name, afterSequence, c.watching, open)
}

// WatchImportJob follows the events of `importJobs/{import_job}` after a sequence; 0 for all of them. The watch ends with
// its context; the job goes on.
func (c *Client) WatchImportJob(ctx context.Context, name string, afterSequence int64) *ImportWatch {
	open := func(ctx context.Context, after int64) (receiver[*scraperv1.ImportJob, *scraperv1.ImportEvent], error) {
		request := &scraperv1.WatchImportJobRequest{Name: name, AfterSequence: after}
		stream, err := c.Scraper.WatchImportJob(ctx, request)
		return func() (*scraperv1.ImportJob, *scraperv1.ImportEvent, error) {
			reply, err := stream.Recv()
			return reply.GetSnapshot(), reply.GetEvent(), err
		}, err
	}
	return newWatch(ctx, name, afterSequence, c.watching, open)
}

type job interface {
	comparable
	GetState() commonv1.JobState
	GetLastSequence() int64
}

type event interface {
	comparable
	GetSequence() int64
}

// receiver waits for the next message of a stream: a snapshot, an event, or neither (a heartbeat).
type receiver[J job, E event] func() (J, E, error)

// Watch goes through a job's events in sequence order. A lost stream is opened again after the last event seen, so that
// none is lost or repeated. Of progress events of a training that piled up because they were read slowly comes just the
// newest, whose CoalescedFrom is the sequence of the first of them. It is for one goroutine:
//
//	watch := client.WatchTrainingJob(ctx, name, 0)
//	defer watch.Close()
//	for watch.Next() {
//		fmt.Println(watch.Event())
//	}
//	if err := watch.Err(); err != nil { ... }
//	fmt.Println(watch.Job().State)
type Watch[J job, E event] struct {
	ctx      context.Context
	close    context.CancelFunc
	name     string
	watching watching
	open     func(ctx context.Context, after int64) (receiver[J, E], error)

	receive  receiver[J, E] // of the stream that is attached, or nil
	detach   context.CancelFunc
	attempts int       // re-attachments since the last sign of life
	alive    time.Time // when that was

	job      J
	event    E
	sequence int64
	done     bool
	err      error
}

func newWatch[J job, E event](
	ctx context.Context, name string, after int64, watching watching,
	open func(context.Context, int64) (receiver[J, E], error),
) *Watch[J, E] {
	ctx, cancel := context.WithCancel(ctx)
	return &Watch[J, E]{
		ctx: ctx, close: cancel, name: name, watching: watching, open: open, sequence: after, alive: time.Now(),
	}
}

// Next waits for the next event. It returns false when the job has ended and all its events were seen, or when the watch
// failed: Err tells which.
func (w *Watch[J, E]) Next() bool {
	var noJob J
	var noEvent E
	for !w.done && w.err == nil {
		job, event, err := w.message()
		switch {
		case err != nil:
			w.ended(err)
		case job != noJob:
			w.job = job
		case event == noEvent:
			w.isAlive()
		case event.GetSequence() > w.sequence:
			w.isAlive()
			w.event, w.sequence = event, event.GetSequence()
			return true
		}
	}
	w.close()
	return false
}

// Event is the event that Next has found.
func (w *Watch[J, E]) Event() E { return w.event }

// Job is the newest snapshot of the job; once Next has returned false without an error, the final one. Nil before the
// first.
func (w *Watch[J, E]) Job() J { return w.job }

// Sequence is that of the newest event seen: a later watch goes on after it.
func (w *Watch[J, E]) Sequence() int64 { return w.sequence }

// Err is why the watch failed, or nil.
func (w *Watch[J, E]) Err() error { return w.err }

// Close ends the watch. The job goes on.
func (w *Watch[J, E]) Close() { w.close() }

// message waits for the next message, and opens a stream first if none is attached.
func (w *Watch[J, E]) message() (job J, event E, err error) {
	ctx := w.ctx
	if w.receive == nil {
		ctx, w.detach = context.WithCancel(w.ctx)
	}
	silence := time.AfterFunc(w.watching.silence, w.detach)
	if w.receive == nil {
		w.receive, err = w.open(ctx, w.sequence)
	}
	if err == nil {
		job, event, err = w.receive()
	}
	heard := silence.Stop()
	if err == nil {
		return job, event, nil
	}
	w.detach()
	w.receive = nil
	if !heard && w.ctx.Err() == nil {
		message := fmt.Sprintf("the watch of %s heard nothing for %s", w.name, w.watching.silence)
		err = fromStatus(status.New(codes.Unavailable, message))
	}
	return job, event, err
}

// isAlive notes that the job's server answers.
func (w *Watch[J, E]) isAlive() {
	w.attempts, w.alive = 0, time.Now()
}

// ended decides what follows the end of a stream: the end of the watch, or another stream after a pause.
func (w *Watch[J, E]) ended(err error) {
	if errors.Is(err, io.EOF) {
		var noJob J
		if w.job != noJob && isFinal(w.job.GetState()) && w.sequence >= w.job.GetLastSequence() {
			w.done = true
			return
		}
		err = fromStatus(status.New(codes.Unavailable, fmt.Sprintf("the watch of %s ended before its job", w.name)))
	}
	if w.ctx.Err() != nil {
		w.err = w.ctx.Err()
		return
	}
	if !isPassing(err) || time.Since(w.alive) > w.watching.patience {
		w.err = err
		return
	}
	pause := time.NewTimer(w.pause(err))
	defer pause.Stop()
	select {
	case <-pause.C:
		w.attempts++
	case <-w.ctx.Done():
		w.err = w.ctx.Err()
	}
}

// pause is how long to wait before the next stream: by chance, so that many watches don't come back at once, and no less
// than the server asks. An expired token needs none: the next stream takes a new one.
func (w *Watch[J, E]) pause(err error) time.Duration {
	if w.attempts == 0 && ReasonOf(err) == "TOKEN_EXPIRED" {
		return 0
	}
	longest := w.watching.firstBackoff
	for i := 0; i < w.attempts && longest < w.watching.lastBackoff; i++ {
		longest *= 2
	}
	if longest > w.watching.lastBackoff {
		longest = w.watching.lastBackoff
	}
	pause := time.Duration(rand.Int63n(int64(longest) + 1))
	var failure *Error
	if errors.As(err, &failure) && failure.RetryDelay > pause {
		return failure.RetryDelay
	}
	return pause
}

// isPassing says whether a stream that ended so may be opened again. INTERNAL and its like are only passing when the
// transport made them (RST_STREAM): what Flare says itself carries a reason.
func isPassing(err error) bool {
	var failure *Error
	if !errors.As(err, &failure) {
		return false
	}
	switch failure.Code {
	case codes.Unavailable:
		return true
	case codes.Unauthenticated:
		return failure.Reason == "TOKEN_EXPIRED"
	case codes.Internal, codes.Unknown, codes.Canceled:
		return failure.Reason == ""
	default:
		return false
	}
}

func isFinal(state commonv1.JobState) bool {
	switch state {
	case commonv1.JobState_JOB_STATE_SUCCEEDED, commonv1.JobState_JOB_STATE_FAILED, commonv1.JobState_JOB_STATE_CANCELLED:
		return true
	default:
		return false
	}
}
