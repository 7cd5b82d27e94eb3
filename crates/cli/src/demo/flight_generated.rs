pub use root::*;

const _: () = ::planus::check_version_compatibility("planus-1.3.0");

/// The root namespace
///
/// Generated from these locations:
/// * File `data/flight.fbs`
#[no_implicit_prelude]
#[allow(clippy::needless_lifetimes)]
mod root {
    /// The table `Flight`
    ///
    /// Generated from these locations:
    /// * Table `Flight` in the file `data/flight.fbs:6`
    #[derive(
        Clone, Debug, PartialEq, PartialOrd, Eq, Ord, Hash, ::serde::Serialize, ::serde::Deserialize,
    )]
    pub struct Flight {
        /// The field `number` in the table `Flight`
        pub number: u64,
        /// The field `scheduled` in the table `Flight`
        pub scheduled: i64,
        /// The field `carrier` in the table `Flight`
        pub carrier: ::planus::alloc::string::String,
        /// The field `origin` in the table `Flight`
        pub origin: ::planus::alloc::string::String,
        /// The field `dest` in the table `Flight`
        pub dest: ::planus::alloc::string::String,
        /// The field `tail` in the table `Flight`
        pub tail: ::core::option::Option<::planus::alloc::string::String>,
        /// The field `flight` in the table `Flight`
        pub flight: u16,
        /// The field `distance` in the table `Flight`
        pub distance: u16,
        /// The field `delay` in the table `Flight`
        pub delay: ::core::option::Option<i16>,
    }

    #[allow(clippy::derivable_impls)]
    impl ::core::default::Default for Flight {
        fn default() -> Self {
            Self {
                number: 0,
                scheduled: 0,
                carrier: ::core::default::Default::default(),
                origin: ::core::default::Default::default(),
                dest: ::core::default::Default::default(),
                tail: ::core::default::Default::default(),
                flight: 0,
                distance: 0,
                delay: ::core::default::Default::default(),
            }
        }
    }

    impl Flight {
        /// Creates a [FlightBuilder] for serializing an instance of this table.
        #[inline]
        pub fn builder() -> FlightBuilder<()> {
            FlightBuilder(())
        }

        #[allow(clippy::too_many_arguments)]
        pub fn create(
            builder: &mut ::planus::Builder,
            field_number: impl ::planus::WriteAsDefault<u64, u64>,
            field_scheduled: impl ::planus::WriteAsDefault<i64, i64>,
            field_carrier: impl ::planus::WriteAs<::planus::Offset<str>>,
            field_origin: impl ::planus::WriteAs<::planus::Offset<str>>,
            field_dest: impl ::planus::WriteAs<::planus::Offset<str>>,
            field_tail: impl ::planus::WriteAsOptional<::planus::Offset<::core::primitive::str>>,
            field_flight: impl ::planus::WriteAsDefault<u16, u16>,
            field_distance: impl ::planus::WriteAsDefault<u16, u16>,
            field_delay: impl ::planus::WriteAsOptional<i16>,
        ) -> ::planus::Offset<Self> {
            let prepared_number = field_number.prepare(builder, &0);
            let prepared_scheduled = field_scheduled.prepare(builder, &0);
            let prepared_carrier = field_carrier.prepare(builder);
            let prepared_origin = field_origin.prepare(builder);
            let prepared_dest = field_dest.prepare(builder);
            let prepared_tail = field_tail.prepare(builder);
            let prepared_flight = field_flight.prepare(builder, &0);
            let prepared_distance = field_distance.prepare(builder, &0);
            let prepared_delay = field_delay.prepare(builder);

            let mut table_writer: ::planus::table_writer::TableWriter<22> =
                ::core::default::Default::default();
            if prepared_number.is_some() {
                table_writer.write_entry::<u64>(0);
            }
            if prepared_scheduled.is_some() {
                table_writer.write_entry::<i64>(1);
            }
            table_writer.write_entry::<::planus::Offset<str>>(2);
            table_writer.write_entry::<::planus::Offset<str>>(3);
            table_writer.write_entry::<::planus::Offset<str>>(4);
            if prepared_tail.is_some() {
                table_writer.write_entry::<::planus::Offset<str>>(5);
            }
            if prepared_flight.is_some() {
                table_writer.write_entry::<u16>(6);
            }
            if prepared_distance.is_some() {
                table_writer.write_entry::<u16>(7);
            }
            if prepared_delay.is_some() {
                table_writer.write_entry::<i16>(8);
            }

            unsafe {
                table_writer.finish(builder, |object_writer| {
                    if let ::core::option::Option::Some(prepared_number) = prepared_number {
                        object_writer.write::<_, _, 8>(&prepared_number);
                    }
                    if let ::core::option::Option::Some(prepared_scheduled) = prepared_scheduled {
                        object_writer.write::<_, _, 8>(&prepared_scheduled);
                    }
                    object_writer.write::<_, _, 4>(&prepared_carrier);
                    object_writer.write::<_, _, 4>(&prepared_origin);
                    object_writer.write::<_, _, 4>(&prepared_dest);
                    if let ::core::option::Option::Some(prepared_tail) = prepared_tail {
                        object_writer.write::<_, _, 4>(&prepared_tail);
                    }
                    if let ::core::option::Option::Some(prepared_flight) = prepared_flight {
                        object_writer.write::<_, _, 2>(&prepared_flight);
                    }
                    if let ::core::option::Option::Some(prepared_distance) = prepared_distance {
                        object_writer.write::<_, _, 2>(&prepared_distance);
                    }
                    if let ::core::option::Option::Some(prepared_delay) = prepared_delay {
                        object_writer.write::<_, _, 2>(&prepared_delay);
                    }
                });
            }
            builder.current_offset()
        }
    }

    impl ::planus::WriteAs<::planus::Offset<Flight>> for Flight {
        type Prepared = ::planus::Offset<Self>;

        #[inline]
        fn prepare(&self, builder: &mut ::planus::Builder) -> ::planus::Offset<Flight> {
            ::planus::WriteAsOffset::prepare(self, builder)
        }
    }

    impl ::planus::WriteAsOptional<::planus::Offset<Flight>> for Flight {
        type Prepared = ::planus::Offset<Self>;

        #[inline]
        fn prepare(
            &self,
            builder: &mut ::planus::Builder,
        ) -> ::core::option::Option<::planus::Offset<Flight>> {
            ::core::option::Option::Some(::planus::WriteAsOffset::prepare(self, builder))
        }
    }

    impl ::planus::WriteAsOffset<Flight> for Flight {
        #[inline]
        fn prepare(&self, builder: &mut ::planus::Builder) -> ::planus::Offset<Flight> {
            Flight::create(
                builder,
                self.number,
                self.scheduled,
                &self.carrier,
                &self.origin,
                &self.dest,
                &self.tail,
                self.flight,
                self.distance,
                self.delay,
            )
        }
    }

    /// Builder for serializing an instance of the [Flight] type.
    ///
    /// Can be created using the [Flight::builder] method.
    #[derive(Debug)]
    #[must_use]
    pub struct FlightBuilder<State>(State);

    impl FlightBuilder<()> {
        /// Setter for the [`number` field](Flight#structfield.number).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn number<T0>(self, value: T0) -> FlightBuilder<(T0,)>
        where
            T0: ::planus::WriteAsDefault<u64, u64>,
        {
            FlightBuilder((value,))
        }

        /// Sets the [`number` field](Flight#structfield.number) to the default value.
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn number_as_default(self) -> FlightBuilder<(::planus::DefaultValue,)> {
            self.number(::planus::DefaultValue)
        }
    }

    impl<T0> FlightBuilder<(T0,)> {
        /// Setter for the [`scheduled` field](Flight#structfield.scheduled).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn scheduled<T1>(self, value: T1) -> FlightBuilder<(T0, T1)>
        where
            T1: ::planus::WriteAsDefault<i64, i64>,
        {
            let (v0,) = self.0;
            FlightBuilder((v0, value))
        }

        /// Sets the [`scheduled` field](Flight#structfield.scheduled) to the default value.
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn scheduled_as_default(self) -> FlightBuilder<(T0, ::planus::DefaultValue)> {
            self.scheduled(::planus::DefaultValue)
        }
    }

    impl<T0, T1> FlightBuilder<(T0, T1)> {
        /// Setter for the [`carrier` field](Flight#structfield.carrier).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn carrier<T2>(self, value: T2) -> FlightBuilder<(T0, T1, T2)>
        where
            T2: ::planus::WriteAs<::planus::Offset<str>>,
        {
            let (v0, v1) = self.0;
            FlightBuilder((v0, v1, value))
        }
    }

    impl<T0, T1, T2> FlightBuilder<(T0, T1, T2)> {
        /// Setter for the [`origin` field](Flight#structfield.origin).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn origin<T3>(self, value: T3) -> FlightBuilder<(T0, T1, T2, T3)>
        where
            T3: ::planus::WriteAs<::planus::Offset<str>>,
        {
            let (v0, v1, v2) = self.0;
            FlightBuilder((v0, v1, v2, value))
        }
    }

    impl<T0, T1, T2, T3> FlightBuilder<(T0, T1, T2, T3)> {
        /// Setter for the [`dest` field](Flight#structfield.dest).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn dest<T4>(self, value: T4) -> FlightBuilder<(T0, T1, T2, T3, T4)>
        where
            T4: ::planus::WriteAs<::planus::Offset<str>>,
        {
            let (v0, v1, v2, v3) = self.0;
            FlightBuilder((v0, v1, v2, v3, value))
        }
    }

    impl<T0, T1, T2, T3, T4> FlightBuilder<(T0, T1, T2, T3, T4)> {
        /// Setter for the [`tail` field](Flight#structfield.tail).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn tail<T5>(self, value: T5) -> FlightBuilder<(T0, T1, T2, T3, T4, T5)>
        where
            T5: ::planus::WriteAsOptional<::planus::Offset<::core::primitive::str>>,
        {
            let (v0, v1, v2, v3, v4) = self.0;
            FlightBuilder((v0, v1, v2, v3, v4, value))
        }

        /// Sets the [`tail` field](Flight#structfield.tail) to null.
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn tail_as_null(self) -> FlightBuilder<(T0, T1, T2, T3, T4, ())> {
            self.tail(())
        }
    }

    impl<T0, T1, T2, T3, T4, T5> FlightBuilder<(T0, T1, T2, T3, T4, T5)> {
        /// Setter for the [`flight` field](Flight#structfield.flight).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn flight<T6>(self, value: T6) -> FlightBuilder<(T0, T1, T2, T3, T4, T5, T6)>
        where
            T6: ::planus::WriteAsDefault<u16, u16>,
        {
            let (v0, v1, v2, v3, v4, v5) = self.0;
            FlightBuilder((v0, v1, v2, v3, v4, v5, value))
        }

        /// Sets the [`flight` field](Flight#structfield.flight) to the default value.
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn flight_as_default(
            self,
        ) -> FlightBuilder<(T0, T1, T2, T3, T4, T5, ::planus::DefaultValue)> {
            self.flight(::planus::DefaultValue)
        }
    }

    impl<T0, T1, T2, T3, T4, T5, T6> FlightBuilder<(T0, T1, T2, T3, T4, T5, T6)> {
        /// Setter for the [`distance` field](Flight#structfield.distance).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn distance<T7>(self, value: T7) -> FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, T7)>
        where
            T7: ::planus::WriteAsDefault<u16, u16>,
        {
            let (v0, v1, v2, v3, v4, v5, v6) = self.0;
            FlightBuilder((v0, v1, v2, v3, v4, v5, v6, value))
        }

        /// Sets the [`distance` field](Flight#structfield.distance) to the default value.
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn distance_as_default(
            self,
        ) -> FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, ::planus::DefaultValue)> {
            self.distance(::planus::DefaultValue)
        }
    }

    impl<T0, T1, T2, T3, T4, T5, T6, T7> FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, T7)> {
        /// Setter for the [`delay` field](Flight#structfield.delay).
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn delay<T8>(self, value: T8) -> FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, T7, T8)>
        where
            T8: ::planus::WriteAsOptional<i16>,
        {
            let (v0, v1, v2, v3, v4, v5, v6, v7) = self.0;
            FlightBuilder((v0, v1, v2, v3, v4, v5, v6, v7, value))
        }

        /// Sets the [`delay` field](Flight#structfield.delay) to null.
        #[inline]
        #[allow(clippy::type_complexity)]
        pub fn delay_as_null(self) -> FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, T7, ())> {
            self.delay(())
        }
    }

    impl<T0, T1, T2, T3, T4, T5, T6, T7, T8> FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, T7, T8)> {
        /// Finish writing the builder to get an [Offset](::planus::Offset) to a serialized [Flight].
        #[inline]
        pub fn finish(self, builder: &mut ::planus::Builder) -> ::planus::Offset<Flight>
        where
            Self: ::planus::WriteAsOffset<Flight>,
        {
            ::planus::WriteAsOffset::prepare(&self, builder)
        }
    }

    impl<
            T0: ::planus::WriteAsDefault<u64, u64>,
            T1: ::planus::WriteAsDefault<i64, i64>,
            T2: ::planus::WriteAs<::planus::Offset<str>>,
            T3: ::planus::WriteAs<::planus::Offset<str>>,
            T4: ::planus::WriteAs<::planus::Offset<str>>,
            T5: ::planus::WriteAsOptional<::planus::Offset<::core::primitive::str>>,
            T6: ::planus::WriteAsDefault<u16, u16>,
            T7: ::planus::WriteAsDefault<u16, u16>,
            T8: ::planus::WriteAsOptional<i16>,
        > ::planus::WriteAs<::planus::Offset<Flight>>
        for FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, T7, T8)>
    {
        type Prepared = ::planus::Offset<Flight>;

        #[inline]
        fn prepare(&self, builder: &mut ::planus::Builder) -> ::planus::Offset<Flight> {
            ::planus::WriteAsOffset::prepare(self, builder)
        }
    }

    impl<
            T0: ::planus::WriteAsDefault<u64, u64>,
            T1: ::planus::WriteAsDefault<i64, i64>,
            T2: ::planus::WriteAs<::planus::Offset<str>>,
            T3: ::planus::WriteAs<::planus::Offset<str>>,
            T4: ::planus::WriteAs<::planus::Offset<str>>,
            T5: ::planus::WriteAsOptional<::planus::Offset<::core::primitive::str>>,
            T6: ::planus::WriteAsDefault<u16, u16>,
            T7: ::planus::WriteAsDefault<u16, u16>,
            T8: ::planus::WriteAsOptional<i16>,
        > ::planus::WriteAsOptional<::planus::Offset<Flight>>
        for FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, T7, T8)>
    {
        type Prepared = ::planus::Offset<Flight>;

        #[inline]
        fn prepare(
            &self,
            builder: &mut ::planus::Builder,
        ) -> ::core::option::Option<::planus::Offset<Flight>> {
            ::core::option::Option::Some(::planus::WriteAsOffset::prepare(self, builder))
        }
    }

    impl<
            T0: ::planus::WriteAsDefault<u64, u64>,
            T1: ::planus::WriteAsDefault<i64, i64>,
            T2: ::planus::WriteAs<::planus::Offset<str>>,
            T3: ::planus::WriteAs<::planus::Offset<str>>,
            T4: ::planus::WriteAs<::planus::Offset<str>>,
            T5: ::planus::WriteAsOptional<::planus::Offset<::core::primitive::str>>,
            T6: ::planus::WriteAsDefault<u16, u16>,
            T7: ::planus::WriteAsDefault<u16, u16>,
            T8: ::planus::WriteAsOptional<i16>,
        > ::planus::WriteAsOffset<Flight> for FlightBuilder<(T0, T1, T2, T3, T4, T5, T6, T7, T8)>
    {
        #[inline]
        fn prepare(&self, builder: &mut ::planus::Builder) -> ::planus::Offset<Flight> {
            let (v0, v1, v2, v3, v4, v5, v6, v7, v8) = &self.0;
            Flight::create(builder, v0, v1, v2, v3, v4, v5, v6, v7, v8)
        }
    }

    /// Reference to a deserialized [Flight].
    #[derive(Copy, Clone)]
    pub struct FlightRef<'a>(#[allow(dead_code)] ::planus::table_reader::Table<'a>);

    impl<'a> FlightRef<'a> {
        /// Getter for the [`number` field](Flight#structfield.number).
        #[inline]
        pub fn number(&self) -> ::planus::Result<u64> {
            ::core::result::Result::Ok(self.0.access(0, "Flight", "number")?.unwrap_or(0))
        }

        /// Getter for the [`scheduled` field](Flight#structfield.scheduled).
        #[inline]
        pub fn scheduled(&self) -> ::planus::Result<i64> {
            ::core::result::Result::Ok(self.0.access(1, "Flight", "scheduled")?.unwrap_or(0))
        }

        /// Getter for the [`carrier` field](Flight#structfield.carrier).
        #[inline]
        pub fn carrier(&self) -> ::planus::Result<&'a ::core::primitive::str> {
            self.0.access_required(2, "Flight", "carrier")
        }

        /// Getter for the [`origin` field](Flight#structfield.origin).
        #[inline]
        pub fn origin(&self) -> ::planus::Result<&'a ::core::primitive::str> {
            self.0.access_required(3, "Flight", "origin")
        }

        /// Getter for the [`dest` field](Flight#structfield.dest).
        #[inline]
        pub fn dest(&self) -> ::planus::Result<&'a ::core::primitive::str> {
            self.0.access_required(4, "Flight", "dest")
        }

        /// Getter for the [`tail` field](Flight#structfield.tail).
        #[inline]
        pub fn tail(&self) -> ::planus::Result<::core::option::Option<&'a ::core::primitive::str>> {
            self.0.access(5, "Flight", "tail")
        }

        /// Getter for the [`flight` field](Flight#structfield.flight).
        #[inline]
        pub fn flight(&self) -> ::planus::Result<u16> {
            ::core::result::Result::Ok(self.0.access(6, "Flight", "flight")?.unwrap_or(0))
        }

        /// Getter for the [`distance` field](Flight#structfield.distance).
        #[inline]
        pub fn distance(&self) -> ::planus::Result<u16> {
            ::core::result::Result::Ok(self.0.access(7, "Flight", "distance")?.unwrap_or(0))
        }

        /// Getter for the [`delay` field](Flight#structfield.delay).
        #[inline]
        pub fn delay(&self) -> ::planus::Result<::core::option::Option<i16>> {
            self.0.access(8, "Flight", "delay")
        }
    }

    impl<'a> ::core::fmt::Debug for FlightRef<'a> {
        fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
            let mut f = f.debug_struct("FlightRef");
            f.field("number", &self.number());
            f.field("scheduled", &self.scheduled());
            f.field("carrier", &self.carrier());
            f.field("origin", &self.origin());
            f.field("dest", &self.dest());
            if let ::core::option::Option::Some(field_tail) = self.tail().transpose() {
                f.field("tail", &field_tail);
            }
            f.field("flight", &self.flight());
            f.field("distance", &self.distance());
            if let ::core::option::Option::Some(field_delay) = self.delay().transpose() {
                f.field("delay", &field_delay);
            }
            f.finish()
        }
    }

    impl<'a> ::core::convert::TryFrom<FlightRef<'a>> for Flight {
        type Error = ::planus::Error;

        #[allow(unreachable_code)]
        fn try_from(value: FlightRef<'a>) -> ::planus::Result<Self> {
            ::core::result::Result::Ok(Self {
                number: ::core::convert::TryInto::try_into(value.number()?)?,
                scheduled: ::core::convert::TryInto::try_into(value.scheduled()?)?,
                carrier: ::core::convert::Into::into(value.carrier()?),
                origin: ::core::convert::Into::into(value.origin()?),
                dest: ::core::convert::Into::into(value.dest()?),
                tail: value.tail()?.map(::core::convert::Into::into),
                flight: ::core::convert::TryInto::try_into(value.flight()?)?,
                distance: ::core::convert::TryInto::try_into(value.distance()?)?,
                delay: if let ::core::option::Option::Some(delay) = value.delay()? {
                    ::core::option::Option::Some(::core::convert::TryInto::try_into(delay)?)
                } else {
                    ::core::option::Option::None
                },
            })
        }
    }

    impl<'a> ::planus::TableRead<'a> for FlightRef<'a> {
        #[inline]
        fn from_buffer(
            buffer: ::planus::SliceWithStartOffset<'a>,
            offset: usize,
        ) -> ::core::result::Result<Self, ::planus::errors::ErrorKind> {
            ::core::result::Result::Ok(Self(::planus::table_reader::Table::from_buffer(
                buffer, offset,
            )?))
        }
    }

    impl<'a> ::planus::VectorReadInner<'a> for FlightRef<'a> {
        type Error = ::planus::Error;
        const STRIDE: usize = 4;

        unsafe fn from_buffer(
            buffer: ::planus::SliceWithStartOffset<'a>,
            offset: usize,
        ) -> ::planus::Result<Self> {
            ::planus::TableRead::from_buffer(buffer, offset).map_err(|error_kind| {
                error_kind.with_error_location("[FlightRef]", "get", buffer.offset_from_start)
            })
        }
    }

    /// # Safety
    /// The planus compiler generates implementations that initialize
    /// the bytes in `write_values`.
    unsafe impl ::planus::VectorWrite<::planus::Offset<Flight>> for Flight {
        type Value = ::planus::Offset<Flight>;
        const STRIDE: usize = 4;
        #[inline]
        fn prepare(&self, builder: &mut ::planus::Builder) -> Self::Value {
            ::planus::WriteAs::prepare(self, builder)
        }

        #[inline]
        unsafe fn write_values(
            values: &[::planus::Offset<Flight>],
            bytes: *mut ::core::mem::MaybeUninit<u8>,
            buffer_position: u32,
        ) {
            let bytes = bytes as *mut [::core::mem::MaybeUninit<u8>; 4];
            for (i, v) in ::core::iter::Iterator::enumerate(values.iter()) {
                ::planus::WriteAsPrimitive::write(
                    v,
                    ::planus::Cursor::new(unsafe { &mut *bytes.add(i) }),
                    buffer_position - (Self::STRIDE * i) as u32,
                );
            }
        }
    }

    impl<'a> ::planus::ReadAsRoot<'a> for FlightRef<'a> {
        fn read_as_root(slice: &'a [u8]) -> ::planus::Result<Self> {
            ::planus::TableRead::from_buffer(
                ::planus::SliceWithStartOffset { buffer: slice, offset_from_start: 0 },
                0,
            )
            .map_err(|error_kind| error_kind.with_error_location("[FlightRef]", "read_as_root", 0))
        }
    }
}
