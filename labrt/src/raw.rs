//! Everything that needs `unsafe`, each block with its argument. No other module has any.
//!
//! Five things cannot be said in safe Rust: which world the current OS thread runs, that a cell is
//! used by that thread alone, how a coroutine suspends itself from deep inside ordinary code, the
//! C library's entropy functions that `HashMap` draws its keys from, and the CPU clock of another
//! thread.
#![allow(unsafe_code)]

use std::cell::{Cell, UnsafeCell};
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use parking_lot::Mutex;

use crate::sim::world::World;

/// What the current OS thread is, decided once per call by a single thread-local read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// An ordinary OS thread outside every group: the bare OS primitives serve it.
    Plain,
    /// The OS thread that runs a simulated world.
    Sim,
    /// An OS thread that belongs to a server, so that a crash must end it.
    Grouped,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Plain) };
    static WORLD: Cell<Option<NonNull<World>>> = const { Cell::new(None) };
    /// The number of the present stay in a world; 0 outside.
    static STAY: Cell<u64> = const { Cell::new(0) };
}

/// Stays in worlds so far: no number is used twice.
static STAYS: AtomicU64 = AtomicU64::new(0);
/// The stays that have not ended.
static PRESENT_STAYS: Mutex<Vec<u64>> = Mutex::new(Vec::new());

/// The current thread's mode.
#[inline]
pub(crate) fn mode() -> Mode {
    // After a thread's locals are gone, its last destructors see a plain thread.
    MODE.try_with(Cell::get).unwrap_or(Mode::Plain)
}

/// Marks the current OS thread as a group's member, or as plain again.
pub(crate) fn set_grouped(grouped: bool) {
    MODE.set(if grouped { Mode::Grouped } else { Mode::Plain });
}

/// A reference to the world that the current OS thread runs.
#[derive(Clone, Copy)]
pub(crate) struct WorldRef(NonNull<World>);

impl Deref for WorldRef {
    type Target = World;

    #[inline]
    fn deref(&self) -> &World {
        // SAFETY: a `WorldRef` comes from `WORLD` only, which `enter` sets to a live world and
        // clears before that world's borrow ends. `WorldRef` is `!Send` (it holds a `NonNull`),
        // is private to this crate, and is kept on the stacks of coroutines only, which run
        // nowhere but inside `enter`.
        unsafe { self.0.as_ref() }
    }
}

/// The world of the current OS thread, if it runs one.
#[inline]
pub(crate) fn world() -> Option<WorldRef> {
    WORLD.try_with(Cell::get).ok().flatten().map(WorldRef)
}

/// Runs `f` with `world` as the current OS thread's world.
pub(crate) fn enter<T>(world: &World, f: impl FnOnce() -> T) -> T {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            WORLD.set(None);
            MODE.set(Mode::Plain);
            // In this order: once the stay is not among the present ones, nobody is in it.
            let stay = STAY.replace(0);
            PRESENT_STAYS.lock().retain(|&other| other != stay);
        }
    }
    assert!(world_is_absent(), "a simulated world was started inside another one");
    let stay = STAYS.fetch_add(1, Ordering::Relaxed) + 1;
    PRESENT_STAYS.lock().push(stay);
    STAY.set(stay);
    WORLD.set(Some(NonNull::from(world)));
    MODE.set(Mode::Sim);
    let _leave = Leave;
    f()
}

fn world_is_absent() -> bool {
    WORLD.get().is_none()
}

/// State that is used in the world in which it was made, and costs no atomic instruction there: a
/// single OS thread runs all of a world. Made outside, or outlasting its world, it is behind a
/// lock.
#[derive(Default)]
pub(crate) struct WorldCell<T> {
    /// The stay in which it was made.
    home: Home,
    /// Whether somebody at home uses the value.
    in_use: Cell<bool>,
    /// For everybody if there is no home, or not any more.
    lock: Mutex<()>,
    value: UnsafeCell<T>,
}

struct Home(u64);

impl Default for Home {
    fn default() -> Self {
        Self(STAY.try_with(Cell::get).unwrap_or(0))
    }
}

// SAFETY: `with` hands out the value to one caller at a time, which may be another OS thread's than
// the maker's: hence `T: Send`. `in_use` is touched at home only, where there is one OS thread.
unsafe impl<T: Send> Sync for WorldCell<T> {}

impl<T> WorldCell<T> {
    pub(crate) fn new(value: T) -> Self {
        let value = UnsafeCell::new(value);
        Self { home: Home::default(), in_use: Cell::new(false), lock: Mutex::new(()), value }
    }

    /// Runs `section` with the value. None if that belongs to a world which another OS thread runs.
    ///
    /// # Panics
    /// In a simulated world, if it is called from within itself.
    #[inline]
    #[track_caller]
    pub(crate) fn with<R>(&self, section: impl FnOnce(&mut T) -> R) -> Option<R> {
        let here = STAY.try_with(Cell::get).unwrap_or(0);
        if here != self.home.0 || here == 0 {
            return self.with_lock(here, section);
        }
        let _using = Using::begin(&self.in_use);
        // SAFETY: a stay has one OS thread, and it is this one, so nobody uses the value at the
        // same time; `in_use` was not set, so nobody further up uses it either. Others come to it
        // only when the stay has ended.
        Some(section(unsafe { &mut *self.value.get() }))
    }

    #[inline(never)]
    #[track_caller]
    fn with_lock<R>(&self, here: u64, section: impl FnOnce(&mut T) -> R) -> Option<R> {
        if self.home.0 != 0 && PRESENT_STAYS.lock().contains(&self.home.0) {
            return None;
        }
        let _guard = match here {
            0 => self.lock.lock(),
            // A world's only OS thread must not wait for itself.
            _ => self.lock.try_lock().expect("a shared cell is used inside itself"),
        };
        // SAFETY: the value has no home, or nobody is there any more: stays do not come again, and
        // the lock of `PRESENT_STAYS` puts the last use at home before this one. Everybody else
        // holds the cell's lock.
        Some(section(unsafe { &mut *self.value.get() }))
    }
}

/// Somebody at home uses a cell's value, until dropped.
struct Using<'a>(&'a Cell<bool>);

impl<'a> Using<'a> {
    #[inline]
    #[track_caller]
    fn begin(in_use: &'a Cell<bool>) -> Self {
        assert!(!in_use.replace(true), "a shared cell is used inside itself");
        Self(in_use)
    }
}

impl Drop for Using<'_> {
    #[inline]
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// A coroutine: one simulated thread's stack.
pub(crate) struct Fiber {
    coroutine: Coroutine<(), (), (), DefaultStack>,
}

/// How a running coroutine finds its way back to whoever resumed it.
#[derive(Clone, Copy)]
pub(crate) struct Suspender(NonNull<Yielder<(), ()>>);

impl Fiber {
    /// A coroutine that has not started; `body` is given the means to suspend itself.
    pub(crate) fn new(stack: DefaultStack, body: impl FnOnce(Suspender) + 'static) -> Self {
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            body(Suspender(NonNull::from(yielder)));
        });
        Self { coroutine }
    }

    /// Runs until the coroutine suspends (false) or ends (true).
    #[inline]
    pub(crate) fn resume(&mut self) -> bool {
        matches!(self.coroutine.resume(()), CoroutineResult::Return(()))
    }

    /// Gives the stack of a coroutine that has ended back.
    pub(crate) fn into_stack(self) -> DefaultStack {
        self.coroutine.into_stack()
    }
}

impl Suspender {
    /// Suspends the coroutine that this suspender belongs to. The caller must be that coroutine:
    /// there is one suspender per thread, and the running thread's is used.
    #[inline]
    pub(crate) fn suspend(self) {
        // SAFETY: the yielder lives on the coroutine's own stack for as long as its body runs, and
        // this is called only on the stack of the thread that is marked as running, whose body
        // therefore has not returned.
        unsafe { self.0.as_ref() }.suspend(());
    }
}

/// Fills `buffer` from the world's hash-key stream; false outside a world.
fn fill_from_world(buffer: *mut libc::c_void, length: usize) -> bool {
    let Some(world) = world() else { return false };
    // SAFETY: the C contract of getrandom and getentropy: `buffer` has room for `length` bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length) };
    bytes.fill(0);
    world.fill_entropy(bytes);
    true
}

/// Takes the place of the C library's function, so that `HashMap`'s keys follow from the seed on
/// a world's thread. Everywhere else it is the real system call.
///
/// # Safety
/// As for the C function: `buffer` must be valid for writes of `length` bytes.
#[cfg(target_os = "linux")]
#[allow(unreachable_pub, reason = "the linker sees it")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getrandom(
    buffer: *mut libc::c_void,
    length: usize,
    flags: libc::c_uint,
) -> isize {
    if !buffer.is_null() && fill_from_world(buffer, length) {
        return isize::try_from(length).unwrap_or(isize::MAX);
    }
    // SAFETY: the arguments are passed on as they came, under the same contract.
    let got = unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) };
    isize::try_from(got).unwrap_or(-1)
}

/// As [`getrandom`], for those who call the BSD function (at most 256 bytes).
///
/// # Safety
/// As for the C function: `buffer` must be valid for writes of `length` bytes.
#[cfg(target_os = "linux")]
#[allow(unreachable_pub, reason = "the linker sees it")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn getentropy(buffer: *mut libc::c_void, length: usize) -> libc::c_int {
    if length > 256 {
        return -1;
    }
    // SAFETY: as this function's own contract.
    let got = unsafe { getrandom(buffer, length, 0) };
    if usize::try_from(got) == Ok(length) { 0 } else { -1 }
}

/// macOS: what the standard library draws its hash keys from.
///
/// # Safety
/// As for the C function: `buffer` must be valid for writes of `length` bytes.
#[cfg(target_os = "macos")]
#[allow(unreachable_pub, reason = "the linker sees it")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn CCRandomGenerateBytes(buffer: *mut libc::c_void, length: usize) -> i32 {
    if fill_from_world(buffer, length) {
        return 0;
    }
    // SAFETY: the arguments are passed on as they came; arc4random_buf cannot fail.
    unsafe { libc::arc4random_buf(buffer, length) };
    0
}

/// The OS thread that called [`this_thread`], for reading its CPU clock from elsewhere.
#[derive(Clone, Copy)]
pub(crate) struct OsThread(
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "no thread has a clock there")
    )]
    libc::pthread_t,
);

// SAFETY: a thread's id is a plain number that may be passed around; it is used for reading the
// thread's CPU clock alone, and only while that thread is registered as running a world.
unsafe impl Send for OsThread {}

/// The current OS thread.
pub(crate) fn this_thread() -> OsThread {
    // SAFETY: pthread_self has no preconditions.
    OsThread(unsafe { libc::pthread_self() })
}

/// CPU time used so far by `thread`, which must not have ended, in nanoseconds.
#[cfg(target_os = "linux")]
pub(crate) fn cpu_time_ns(thread: OsThread) -> Option<u64> {
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place to write to, and the caller keeps the thread alive.
    if unsafe { libc::pthread_getcpuclockid(thread.0, &raw mut clock) } != 0 {
        return None;
    }
    read_clock_ns(clock)
}

/// macOS has no clock per thread to read from outside: the whole process's stands in for it.
#[cfg(not(target_os = "linux"))]
pub(crate) fn cpu_time_ns(_thread: OsThread) -> Option<u64> {
    read_clock_ns(libc::CLOCK_PROCESS_CPUTIME_ID)
}

fn read_clock_ns(clock: libc::clockid_t) -> Option<u64> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place to write to.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return None;
    }
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?)
}

/// A source place that another OS thread may read: the watchdog, of a world that is stuck.
#[derive(Default)]
pub(crate) struct PlaceCell(std::sync::atomic::AtomicPtr<std::panic::Location<'static>>);

impl PlaceCell {
    #[inline]
    pub(crate) fn set(&self, place: &'static std::panic::Location<'static>) {
        let place = std::ptr::from_ref(place).cast_mut();
        self.0.store(place, std::sync::atomic::Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<&'static std::panic::Location<'static>> {
        // SAFETY: the pointer is null or came from a `&'static Location` in `set`, which is the
        // only place that stores one; what it points to is never written to.
        unsafe { self.0.load(std::sync::atomic::Ordering::Relaxed).as_ref() }
    }
}
