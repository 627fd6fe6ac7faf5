/* For a process whose clock libfaketime shifts: waits until an instant, as C11's threads have them
 * and the Kafka client uses them, end when the shifted clock says so. libfaketime knows only the
 * POSIX ones; without this a clock that is ahead makes every such wait longer by as much.
 * Preloaded before libfaketime by deploy/dev/chaos; nothing else uses it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <sys/syscall.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

int cnd_timedwait(cnd_t *condition, mtx_t *mutex, const struct timespec *until) {
  static int (*real)(cnd_t *, mtx_t *, const struct timespec *);
  struct timespec shifted, machine, at = *until;
  if (!real) real = dlsym(RTLD_NEXT, "cnd_timedwait");
  clock_gettime(CLOCK_REALTIME, &shifted);
  syscall(SYS_clock_gettime, CLOCK_REALTIME, &machine);
  at.tv_sec += machine.tv_sec - shifted.tv_sec;
  at.tv_nsec += machine.tv_nsec - shifted.tv_nsec;
  if (at.tv_nsec < 0) { at.tv_nsec += 1000000000L; at.tv_sec--; }
  if (at.tv_nsec >= 1000000000L) { at.tv_nsec -= 1000000000L; at.tv_sec++; }
  return real(condition, mutex, &at);
}
